r"""Memory aware synapses: what the output's slope says about a weight, and what it leaves out.

A proof returns both sides, each computed on its own, for the reader to subtract.
"""

import sympy as sp

from cl_lib.derivations.bayes import sigmoid
from cl_lib.derivations.three_weights import THETA


def taylor_step():
    r"""How far the output moves if a weight does: a unit :math:`F=v\tanh(wx)`, both weights moved.

    .. math:: F(x;\theta+\delta)-F(x;\theta)=\sum_ig_i\delta_i+O(\|\delta\|^2),\qquad
              g_i=\partial F/\partial\theta_i

    Both weights move along a line, :math:`\delta=\epsilon\,(d_v,d_w)`.

    Returns
    -------
    (Expr, Expr)
        The series of the difference in :math:`\epsilon` up to the first power, and
        :math:`\epsilon\sum_ig_id_i` (Aljundi et al. 2018, Eq. 1).
    """
    v, w, x, d_v, d_w, eps = sp.symbols("v w x d_v d_w epsilon", real=True)
    moved = (v + eps * d_v) * sp.tanh((w + eps * d_w) * x)
    output = v * sp.tanh(w * x)
    first_order = sp.series(moved - output, eps, 0, 2).removeO()
    return first_order, eps * (sp.diff(output, v) * d_v + sp.diff(output, w) * d_w)


def squared_norm_gradient(n_outputs=3):
    r"""One backward pass is enough: the gradient of the squared norm needs no Jacobian.

    .. math:: \partial_\theta\|F\|_2^2=2\sum_kF_k\,\partial_\theta F_k=2\,F^\top\partial_\theta F

    The outputs are undefined functions of one weight.

    Returns
    -------
    (Expr, Expr)
        The derivative of the sum of squares, and the vector-Jacobian product with 2F.
    """
    theta = sp.Symbol("theta", real=True)
    outputs = sp.Matrix([sp.Function(f"F{k + 1}")(theta) for k in range(n_outputs)])
    norm = sum(f**2 for f in outputs)
    return sp.diff(norm, theta), (2 * outputs.T * sp.diff(outputs, theta))[0]


def turning_output():
    r"""What the squared norm cannot see: a weight that only *turns* the output.

    :math:`F=R(\theta)\,(a,b)^\top` with a rotation R by the angle θ.

    Returns
    -------
    dict
        ``"jacobian"``: the squared norm of :math:`\partial_\theta F`, :math:`a^2+b^2`, which K
        backward passes see; ``"norm"``: the derivative of :math:`\|F\|_2^2`, zero.
    """
    theta, a, b = sp.symbols("theta a b", real=True)
    turn = sp.Matrix([[sp.cos(theta), -sp.sin(theta)], [sp.sin(theta), sp.cos(theta)]])
    output = turn * sp.Matrix([a, b])
    slope = sp.diff(output, theta)
    return {
        "jacobian": sp.simplify(slope.dot(slope)),
        "norm": sp.simplify(sp.diff(output.dot(output), theta)),
    }


def linear_net(n_outputs=2, n_inputs=2):
    r"""Importances of a linear net :math:`F=Wx` for one input, before the absolute value.

    Returns
    -------
    dict of Matrix
        ``"squared norm"``: :math:`\partial_{W_{kj}}\|F\|_2^2=2F_kx_j`, output times input;
        ``"jacobian"``: :math:`\|\partial_{W_{kj}}F\|_2^2=x_j^2`, which knows the input only;
        ``"hebb"``: :math:`2Fx^\top`, from the activations without any derivative.
    """
    weights = sp.Matrix(n_outputs, n_inputs, sp.symbols(f"W1:{n_outputs + 1}(1:{n_inputs + 1})", real=True))
    inputs = sp.Matrix(sp.symbols(f"x1:{n_inputs + 1}", real=True))
    outputs = weights * inputs

    def norm(k, j):
        return sp.diff(outputs.dot(outputs), weights[k, j]).factor()

    def jacobian(k, j):
        slope = sp.diff(outputs, weights[k, j])
        return slope.dot(slope)

    return {
        "squared norm": sp.Matrix(n_outputs, n_inputs, norm),
        "jacobian": sp.Matrix(n_outputs, n_inputs, jacobian),
        "hebb": (2 * outputs * inputs.T).applyfunc(sp.factor),
    }


def mas_importance(outputs, point):
    r""":math:`|\partial_{\theta_i}\|F\|_2^2|` of each weight of the three-weight world at a point.

    Task A's network answers :math:`F=(\theta_1,\theta_2)`: at its solution (1, 1, 0) the importances
    are (2, 2, 0), twice A's Fisher, and nobody was told what A wants.

    Parameters
    ----------
    outputs : sequence of Expr
        In the symbols ``THETA``.
    point : sequence of three numbers
    """
    if len(point) != len(THETA):
        raise ValueError(f"point has {len(point)} weights; this world has {len(THETA)}, give them all")
    norm = sum(sp.sympify(f) ** 2 for f in outputs)
    at = dict(zip(THETA, point, strict=True))
    return tuple(sp.Abs(sp.diff(norm, t).subs(at)) for t in THETA)


def gaussian_fisher():
    r"""Without labels and without the output's size: the Fisher of a Gaussian output.

    If labels are :math:`y_k\sim N(F_k,1)`, the score of a weight is :math:`(y-F)^\top\partial F`: a
    normal number with variance :math:`\|\partial F\|_2^2`, here for two outputs with slopes a and b.

    Returns
    -------
    dict
        ``"fisher"``: its mean square, :math:`a^2+b^2`, the diagonal of Gauss-Newton;
        ``"jacobian"``: :math:`a^2+b^2` from the outputs alone, the square of what MAS averages if it
        makes K backward passes.
    """
    theta = sp.Symbol("theta", real=True)
    (y1, y2), (a, b), (c1, c2) = (sp.symbols(s, real=True) for s in ("y1 y2", "a b", "c1 c2"))
    outputs = (c1 + a * theta, c2 + b * theta)
    log_p = -((y1 - outputs[0]) ** 2 + (y2 - outputs[1]) ** 2) / 2
    noise = sp.symbols("e1:3", real=True)
    drawn = {y: f + e for y, f, e in zip((y1, y2), outputs, noise, strict=True)}
    mean = sp.expand(sp.diff(log_p, theta).subs(drawn) ** 2)
    for e in noise:
        density = sp.exp(-(e**2) / 2) / sp.sqrt(2 * sp.pi)
        mean = sp.expand(sp.integrate(sp.expand(mean * density), (e, -sp.oo, sp.oo)))
    return {"fisher": mean, "jacobian": sum(sp.diff(f, theta) ** 2 for f in outputs)}


def absolute_and_square():
    r"""The mean absolute value of normal gradients is the root of their mean square, but for a factor.

    .. math:: g\sim N(0,s^2):\qquad E|g|=\sqrt{2/\pi}\,\sqrt{E[g^2]}

    So if the gradients of all weights have one shape and differ in scale only, an importance
    without the square is the square root of one with it (our sketch of Benzing's 2022 finding).

    Returns
    -------
    (Expr, Expr)
        :math:`E|g|` and :math:`\sqrt{E[g^2]}`.
    """
    g, s = sp.Symbol("g", real=True), sp.Symbol("s", positive=True)
    density = sp.exp(-(g**2) / (2 * s**2)) / (s * sp.sqrt(2 * sp.pi))
    absolute = 2 * sp.integrate(g * density, (g, 0, sp.oo))
    square = sp.integrate(g**2 * density, (g, -sp.oo, sp.oo))
    return sp.simplify(absolute), sp.simplify(sp.sqrt(square))


def mas_of_logistic():
    r"""Logits or probabilities: one logistic unit with logit :math:`z=wx` and :math:`p=\sigma(z)`.

    Returns
    -------
    dict of pairs
        Each the derivative by w, and its closed form: ``"logits"``, :math:`\partial_wz^2=2zx`, which
        grows as the unit gets sure; ``"probabilities"``,
        :math:`\partial_w(p^2+(1-p)^2)` :math:`{}=2(2p-1)\,p(1-p)\,x`, which vanishes;
        ``"absolute Fisher"`` for :math:`x>0`, :math:`E_y|\partial_w\log p(y|x)|=2p(1-p)\,x`.
    """
    w, x = sp.Symbol("w", real=True), sp.Symbol("x", positive=True)
    p = sigmoid(w * x)
    # The score of label 1 is positive, that of label 0 negative.
    absolute = p * sp.diff(sp.log(p), w) - (1 - p) * sp.diff(sp.log(1 - p), w)
    return {
        "logits": (sp.diff((w * x) ** 2, w), 2 * (w * x) * x),
        "probabilities": (sp.diff(p**2 + (1 - p) ** 2, w), 2 * (2 * p - 1) * p * (1 - p) * x),
        "absolute Fisher": (absolute, 2 * p * (1 - p) * x),
    }


def hebbian_layer(n_inputs=2):
    r"""Local MAS: a ReLU layer as a function of its own, :math:`y=\max(0,\sum_i\theta_ix_i)`.

    .. math:: \partial_{\theta_i}\|y\|_2^2=2\,x_iy

    Returns
    -------
    dict
        For a unit that fires and one that is silent: pairs of the gradient, a Matrix, and of
        :math:`2xy`.
    """
    theta = sp.Matrix(sp.symbols(f"theta1:{n_inputs + 1}", real=True))
    inputs = sp.Matrix(sp.symbols(f"x1:{n_inputs + 1}", real=True))
    received = theta.dot(inputs)
    answers = {"fires": received, "silent": sp.Integer(0)}
    pairs = {}
    for name, y in answers.items():
        gradient = sp.Matrix([sp.diff(y**2, t) for t in theta])
        pairs[name] = (gradient.expand(), (2 * inputs * y).expand())
    return pairs


def batch_cancels(gradients):
    r"""The absolute value too late: both orders for the per-sample gradients of one weight.

    Returns
    -------
    (Expr, Expr)
        :math:`|\frac1N\sum_ng_n|\le\frac1N\sum_n|g_n|`; equal only where no two signs differ.

    Raises
    ------
    ValueError
        Without a gradient.
    """
    if not len(gradients):
        raise ValueError("gradients is empty; give the gradient of at least one sample")
    n = len(gradients)
    return sp.Abs(sum(gradients)) / n, sum(map(sp.Abs, gradients)) / n


def scaled_outputs():
    r"""λ has a unit: outputs :math:`c` times as large have importances :math:`c^2` times as large.

    Returns
    -------
    (Expr, Expr)
        :math:`\partial_\theta(cF)^2` and :math:`c^2\,\partial_\theta F^2`.
    """
    c, theta = sp.symbols("c theta", positive=True)
    output = sp.Function("F")(theta)
    return sp.diff((c * output) ** 2, theta), c**2 * sp.diff(output**2, theta)
