r"""The algebra of the book in sympy: every formula that a chapter proves, exact and importable.

A point is a tuple of weights; its length says how many weights there are. Exact numbers in, exact
numbers out. A proof returns both sides, each computed on its own, for the reader to subtract.
"""

import sympy as sp

THETA = sp.symbols("theta1:4", real=True)
LAM = sp.Symbol("lambda", positive=True)


def loss_a():
    r"""Task A, :math:`L_A=\frac12[(\theta_1-1)^2+(\theta_2-1)^2]`: never sees the third weight."""
    return ((THETA[0] - 1) ** 2 + (THETA[1] - 1) ** 2) / 2


def loss_b(n_weights=3):
    r"""Task B, :math:`L_B=\frac12[(\theta_1-1)^2+(\theta_2+\theta_3-9)^2]`; of 2 weights, no θ₃."""
    if n_weights not in (2, 3):
        raise ValueError(f"n_weights is {n_weights}; the world has 2 or 3 weights, choose one.")
    return ((THETA[0] - 1) ** 2 + (sum(THETA[1:n_weights]) - 9) ** 2) / 2


def value_at(loss, point):
    """The loss at a point, exact."""
    return sp.factor(loss.subs(dict(zip(THETA, point, strict=False))))


def joint_minimiser(n_weights=2):
    r"""Best weights for both tasks, where the gradient of :math:`L_A+L_B` is zero.

    (1, 5) of two weights, a compromise; (1, 1, 8) of three, where both losses are zero.
    """
    total, theta = loss_a() + loss_b(n_weights), THETA[:n_weights]
    solution = sp.solve([sp.diff(total, t) for t in theta], theta)
    return tuple(solution[t] for t in theta)


def mean_is_best():
    r"""Proof that :math:`\frac12(\theta-a)^2+\frac12(\theta-b)^2` is smallest at :math:`(a+b)/2`.

    Returns
    -------
    (Expr, Expr)
        The only zero of the slope, and the second derivative: 2, so it is the minimum.
    """
    a, b, theta = sp.symbols("a b theta", real=True)
    slope = sp.diff((theta - a) ** 2 / 2 + (theta - b) ** 2 / 2, theta)
    return sp.solve(slope, theta)[0], sp.diff(slope, theta)


def gradient_flow_limit(loss, start):
    r"""Where gradient descent with a small rate ends on a quadratic loss, exactly.

    .. math:: \theta_\infty=\theta_0-H^{+}\,\nabla L(\theta_0)

    Every step lies in the range of the Hessian H, so what H does not see stays as it was: the
    pseudo-inverse goes the shortest way from the start to the set of minima.

    Raises
    ------
    ValueError
        If the loss is not quadratic in the weights of ``start``, or has no minimum.
    """
    theta, others = THETA[: len(start)], set(THETA[len(start) :])
    hessian = sp.hessian(loss, theta)
    if hessian.free_symbols & set(THETA) or loss.free_symbols & others:
        raise ValueError(
            f"loss must be quadratic in the {len(start)} weights of start, got {loss}; "
            "for any other loss follow gradient_descent"
        )
    at_start = dict(zip(theta, start, strict=True))
    gradient = sp.Matrix([sp.diff(loss, t).subs(at_start) for t in theta])
    step = hessian.pinv() * gradient
    unbounded = any((hessian * step - gradient).applyfunc(sp.cancel))
    if unbounded or hessian.is_positive_semidefinite is False:
        raise ValueError(f"loss must be convex and have a minimum, or descent has no limit: {loss}")
    return tuple(sp.factor(s - d) for s, d in zip(start, step, strict=True))


def gradient_descent(loss, start, lr, steps):
    """All points of plain gradient descent, a Matrix (steps + 1, weights); exact if ``lr`` is."""
    theta = THETA[: len(start)]
    gradient = sp.lambdify(theta, [sp.diff(loss, t) for t in theta], "sympy")
    path = [tuple(start)]
    for _ in range(steps):
        slope = gradient(*path[-1])
        path.append(tuple(t - lr * g for t, g in zip(path[-1], slope, strict=True)))
    return sp.Matrix(path)


def fisher_diagonal_gaussian():
    r"""A's Fisher in the world of three weights: (1, 1, 0).

    :math:`L_A` is, up to a constant, the negative log-likelihood of :math:`y_1,y_2` with
    :math:`y_i\sim N(\theta_i,1)` that both came out as 1. The Fisher
    :math:`E_y[(\partial_{\theta_i}\log p)^2]` draws them from the model, :math:`y_i=\theta_i+e_i`.
    """
    y, noise = sp.symbols("y1:3", real=True), sp.symbols("e1:3", real=True)
    log_p = -sum((y[i] - THETA[i]) ** 2 for i in range(2)) / 2
    drawn = {y[i]: THETA[i] + noise[i] for i in range(2)}
    fisher = []
    for theta in THETA:
        mean = sp.diff(log_p, theta).subs(drawn) ** 2
        for e in mean.free_symbols & set(noise):
            density = sp.exp(-(e**2) / 2) / sp.sqrt(2 * sp.pi)
            mean = sp.integrate(mean * density, (e, -sp.oo, sp.oo))
        fisher.append(mean)
    return tuple(fisher)


def quadratic_penalty(importance, anchor, lam=LAM):
    r""":math:`\frac\lambda2(\theta-\theta^*)^\top F(\theta-\theta^*)`, the anchor is θ*.

    ``importance`` is the diagonal of F (Kirkpatrick et al. 2017, eq. 3), or all of F as a Matrix.
    """
    full = isinstance(importance, sp.MatrixBase)
    fisher = importance if full else sp.diag(*map(sp.sympify, importance))
    n = len(anchor)
    if fisher.shape != (n, n):
        raise ValueError(f"importance has {fisher.shape[0]} weights, anchor {n}; give equally many")
    away = sp.Matrix(THETA[:n]) - sp.Matrix(anchor)
    return lam * (away.T * fisher * away)[0] / 2


def penalised_minimiser(loss, importance, anchor, lam=LAM):
    r"""Minimiser of a quadratic loss plus :func:`quadratic_penalty`, for every λ > 0.

    If the Hessian of the sum is singular, it is the one that descent from the anchor finds. With
    A's Fisher (1, 1, 0) and :math:`L_B` its determinant is λ(1+λ): the minimiser (1, 1, 8) is the
    only one for every λ > 0, however small, although λ = 0 leads to (1, 5, 4).
    """
    return gradient_flow_limit(loss + quadratic_penalty(importance, anchor, lam), anchor)


def rotated_bowl(correlation, lam=LAM):
    r"""What a diagonal throws away: A is a valley along (1, -1), and B pulls :math:`\theta_1` to 1.

    .. math:: L_A=\tfrac12(\theta_1^2+2c\,\theta_1\theta_2+\theta_2^2),\quad
              L_B=\tfrac12(\theta_1-1)^2

    The whole Hessian lets :math:`\theta_2=-c\,\theta_1` give way: :math:`\theta_1=1/(1+\lambda
    (1-c^2))`. Its diagonal (1, 1) stays at :math:`\theta_2=0`, :math:`\theta_1=1/(1+\lambda)`.

    Returns
    -------
    dict
        ``"loss_a"``, and the minimisers of B plus penalty: ``"full"``, ``"diagonal"``.
    """
    hessian, loss = sp.Matrix([[1, correlation], [correlation, 1]]), (THETA[0] - 1) ** 2 / 2
    return {
        "loss_a": quadratic_penalty(hessian, (0, 0), lam=1),
        "full": penalised_minimiser(loss, hessian, (0, 0), lam),
        "diagonal": penalised_minimiser(loss, (1, 1), (0, 0), lam),
    }


def merge(f1, a1, f2, a2):
    r"""Two quadratic penalties are one; returns its importance F, its anchor μ, and the constant C.

    .. math:: F_1(\theta-a_1)^2+F_2(\theta-a_2)^2=F(\theta-\mu)^2+C

    F is half the second derivative, μ the zero of the slope, C the value at μ. That gives
    :math:`\mu=(F_1a_1+F_2a_2)/F`, :math:`C=F_1F_2(a_1-a_2)^2/F`; μ as in Huszár (2018).
    """
    if f1 + f2 == 0:
        raise ValueError("f1 + f2 is 0: without importance any anchor is as good; give one of them")
    theta = sp.Dummy("theta", real=True)
    total = f1 * (theta - a1) ** 2 + f2 * (theta - a2) ** 2
    (anchor,) = sp.solve(sp.diff(total, theta), theta)
    return sp.diff(total, theta, 2) / 2, anchor, sp.factor(total.subs(theta, anchor))


def two_anchors_or_one():
    r"""Huszár's argument (2018) on tasks :math:`F_A(\theta-a)^2` and :math:`F_B(\theta-c)^2`.

    B trained with a penalty to a ends at b. The *latest* anchor, b with :math:`F_A+F_B`, is what
    both tasks say together. *Separate* anchors, a and b, count A twice, as b was already pulled to
    a: they are off by :math:`F_AF_B(a-c)/(F_A+F_B)^2`.

    Returns
    -------
    dict
        The anchor in effect: ``"joint"`` (both tasks known), ``"latest"``, ``"separate"``.
    """
    f_a, f_b = sp.symbols("F_A F_B", positive=True)
    a, c, theta = sp.symbols("a c theta", real=True)
    trained = sp.solve(sp.diff(f_a * (theta - a) ** 2 + f_b * (theta - c) ** 2, theta), theta)
    anchors = {"joint": (a, c), "latest": (trained[0], trained[0]), "separate": (a, trained[0])}
    return {name: merge(f_a, first, f_b, second)[1] for name, (first, second) in anchors.items()}


def gaussian_posterior(mean, precision, observations):
    r"""Belief :math:`\theta\sim N(m,1/\tau)` after :math:`x_n\sim N(\theta,1)`: mean and precision.

    The negative log posterior is quadratic; its minimum is the new mean, its curvature the new
    precision: :math:`\tau'=\tau+N`, :math:`m'=(\tau m+\sum_nx_n)/\tau'`.
    """
    theta = sp.Dummy("theta", real=True)
    negative_log = precision * (theta - mean) ** 2 / 2
    negative_log += sum((x - theta) ** 2 for x in observations) / 2
    (mode,) = sp.solve(sp.diff(negative_log, theta), theta)
    return sp.factor(mode), sp.diff(negative_log, theta, 2)


def sequential_equals_joint():
    r"""Yesterday's posterior is today's prior: :math:`p(\theta|A,B)\propto p(B|\theta)p(\theta|A)`.

    A has two observations, B one. So for quadratic losses EWC with the whole Hessian is joint
    training. Returns (mean, precision) of A then B, and of both at once.
    """
    m, x1, x2, x3 = sp.symbols("m x1:4", real=True)
    tau = sp.Symbol("tau", positive=True)
    after_a = gaussian_posterior(m, tau, (x1, x2))
    return gaussian_posterior(*after_a, (x3,)), gaussian_posterior(m, tau, (x1, x2, x3))


def sigmoid(u):
    r""":math:`\sigma(u)=1/(1+e^{-u})`."""
    return 1 / (1 + sp.exp(-u))


def negative_log_posterior(xs, ys, w, prior_precision=0):
    r"""Logistic unit: :math:`-\sum_n\log p(y_n|x_n)+\frac\tau2w^2`, :math:`p(1|x)=\sigma(wx)`."""
    chances = [sigmoid(w * x) if y else 1 - sigmoid(w * x) for x, y in zip(xs, ys, strict=True)]
    return -sum(sp.log(p) for p in chances) + prior_precision * sp.S.Half * w**2


def laplace_precision(xs, ys, w, prior_precision):
    r"""Precision of the Gaussian that Laplace's method puts at w: Hessian of the loss plus prior.

    At its minimum the negative log posterior has no slope: to second order it is
    :math:`\frac12P(w-w^*)^2` plus a constant, the negative log of a Gaussian of precision

    .. math:: P=\sum_np_n(1-p_n)x_n^2+\tau,

    N times the exact Fisher plus the prior's. Computed as the second derivative.
    """
    weight = sp.Dummy("w", real=True)
    loss = negative_log_posterior(xs, ys, weight, prior_precision)
    return sp.diff(loss, weight, 2).subs(weight, w)


def fisher_logistic():
    r"""The Fisher is the Hessian of the negative log-likelihood: a logistic unit, in its weight w.

    .. math:: E_y[(\partial_w\log p(y|x))^2]=-\partial_w^2\log p(y|x)=p(1-p)x^2

    Returns
    -------
    dict
        ``"fisher"``, ``"hessian"`` (for y = 0 and y = 1: the label does not matter), ``"closed"``.
    """
    w, x = sp.symbols("w x", real=True)
    p = sigmoid(w * x)
    return {
        "fisher": sum(q * sp.diff(sp.log(q), w) ** 2 for q in (1 - p, p)),
        "hessian": [-sp.diff(sp.log(q), w, 2) for q in (1 - p, p)],
        "closed": p * (1 - p) * x**2,
    }


def fisher_softmax(x=(1,)):
    r"""The same for three classes, :math:`p=\mathrm{softmax}(Wx)`, in the rows of W.

    .. math:: F=(\mathrm{diag}(p)-pp^\top)\otimes xx^\top

    With the one input 1 the weights are the logits, and :math:`F=\mathrm{diag}(p)-pp^\top`. EWC
    keeps the diagonal, :math:`p_k(1-p_k)x_j^2`. A common shift of the logits changes nothing, so
    the exponentials may sum to 1: they are :math:`p_1`, :math:`p_2` and :math:`1-p_1-p_2`.

    Returns
    -------
    dict
        ``"fisher"``, ``"hessian"`` (one for each label), ``"closed"``.
    """
    weights = sp.Matrix(3, len(x), sp.symbols(f"W1:4(1:{len(x) + 1})", real=True))
    logits, (p1, p2) = weights * sp.Matrix(x), sp.symbols("p1 p2", positive=True)
    p, inputs = sp.Matrix([p1, p2, 1 - p1 - p2]), sp.Matrix(x)
    short = {sp.exp(z): q for z, q in zip(logits, p, strict=True)}
    # sympy writes a product of exponentials as one
    short |= {sp.exp(logits[i] + logits[j]): p[i] * p[j] for i in range(3) for j in range(3)}
    fisher, hessians = sp.zeros(len(weights)), []
    for k in range(3):
        loss = sp.log(sum(sp.exp(z) for z in logits)) - logits[k]
        score = sp.Matrix([sp.diff(loss, w) for w in weights]).xreplace(short)
        fisher += p[k] * score * score.T
        hessians.append(sp.hessian(loss, list(weights)).xreplace(short).expand())
    closed = sp.kronecker_product(sp.diag(*p) - p * p.T, inputs * inputs.T)
    return {"fisher": fisher.expand(), "hessian": hessians, "closed": closed.expand()}


def fisher_estimates(xs, ys, w, batch_size=2):
    r"""Five ways to square a gradient: a logistic unit :math:`p=\sigma(wx)` and N samples.

    With the gradient :math:`g_n(y)=(y-p_n)x_n` of :math:`\log p(y|x_n)`:

    ==================== ===================================================================
    exact                :math:`\frac1N\sum_nE_{y\sim p_n}[g_n(y)^2]`
    sampled_mean         its expectation, if one label is drawn for each sample: exact
    sampled_variance     its variance, :math:`\frac1{N^2}\sum_np_n(1-p_n)(1-2p_n)^2x_n^4`
    empirical            :math:`\frac1N\sum_ng_n(y_n)^2`, true labels
    batched              squared mean gradient of a batch, averaged over batches in order
    summed               :math:`(\sum_ng_n(y_n))^2`: zero wherever training has converged
    ==================== ===================================================================

    At their optimum w = log 2 the data x = (1, 1, 3), y = (1, 0, 1) have 4/9 (exact), 44/81 (its
    variance), 2/9 (empirical), 0 (summed). Names as in van de Ven (2025).
    """
    n = len(xs)
    if n == 0 or n != len(ys):
        raise ValueError(f"xs has {n} samples, ys has {len(ys)} labels; give one label per sample")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    p = [sigmoid(w * x) for x in xs]
    true = [(y - q) * x for x, y, q in zip(xs, ys, p, strict=True)]
    drawn = [(q, ((1 - q) * x) ** 2, (q * x) ** 2) for x, q in zip(xs, p, strict=True)]
    means = [q * one + (1 - q) * zero for q, one, zero in drawn]
    squares = [q * one**2 + (1 - q) * zero**2 for q, one, zero in drawn]
    batches = [true[i : i + batch_size] for i in range(0, n, batch_size)]
    return {
        "exact": sum(q * (1 - q) * x**2 for x, q in zip(xs, p, strict=True)) / n,
        "sampled_mean": sum(means) / n,
        "sampled_variance": sum(s - m**2 for m, s in zip(means, squares, strict=True)) / n**2,
        "empirical": sum(g**2 for g in true) / n,
        "batched": sum((sum(b) / len(b)) ** 2 for b in batches) / len(batches),
        "summed": sum(true) ** 2,
    }


def squares_at_a_stationary_point():
    r"""Three gradients that cancel, :math:`g_1+g_2+g_3=0`, as where training has converged.

    Returns
    -------
    (Expr, Expr)
        The square of the sum, 0, and the sum of the squares, positive unless all are zero.
    """
    g1, g2 = sp.symbols("g1 g2", real=True)
    gradients = (g1, g2, -g1 - g2)
    return sp.expand(sum(gradients) ** 2), sp.factor(sum(g**2 for g in gradients))


def proximal_step(v, lr, lam, importance, anchor):
    r"""The implicit step for the penalty, exact and stable for every λ: the minimiser over θ.

    .. math:: \frac{(\theta-v)^2}{2\eta}+\frac\lambda2F(\theta-\theta^*)^2
              \quad\text{is smallest at}\quad\frac{v+\eta\lambda F\theta^*}{1+\eta\lambda F}
    """
    theta = sp.Dummy("theta", real=True)
    objective = (theta - v) ** 2 / (2 * lr) + lam * importance * (theta - anchor) ** 2 / 2
    return sp.factor(sp.solve(sp.diff(objective, theta), theta)[0])


def stable_steps():
    r"""For which :math:`s=\eta\lambda F>0` a step on the penalty comes nearer to the anchor.

    A gradient step multiplies the distance by :math:`1-s`, an implicit one by :math:`1/(1+s)`;
    it shrinks where that is below 1 in size. Returns both sets of s: :math:`(0,2)`, and all s > 0.
    """
    s, positive = sp.Symbol("s", real=True), sp.Interval.open(0, sp.oo)
    factors = (1 - s, 1 / (1 + s))
    return tuple(sp.solveset(sp.Abs(f) < 1, s, sp.S.Reals).intersect(positive) for f in factors)


def linear_layer_identity():
    r"""Sums of squared per-sample gradients of a linear layer need one backward pass only.

    For :math:`y_n=Wa_n+b`, *any* loss :math:`\ell_n(y_n)`, :math:`g_n=\partial\ell_n/\partial y_n`:

    .. math:: \sum_n(\partial\ell_n/\partial W_{ij})^2=\sum_ng_{ni}^2\,a_{nj}^2

    Returns both sides, for two samples and a 2 x 2 matrix. The losses are undefined functions;
    g is their derivative by the bias.
    """
    weights, bias = sp.Matrix(2, 2, sp.symbols("W1:3(1:3)")), sp.Matrix(sp.symbols("b1:3"))
    inputs = sp.Matrix(2, 2, sp.symbols("a1:3(1:3)"))
    outputs = [weights * inputs[n, :].T + bias for n in range(2)]
    losses = [sp.Function(f"ell{n + 1}")(*outputs[n]) for n in range(2)]

    def left(i, j):
        return sum(sp.diff(loss, weights[i, j]) ** 2 for loss in losses)

    def right(i, j):
        return sum(sp.diff(losses[n], bias[i]) ** 2 * inputs[n, j] ** 2 for n in range(2))

    return sp.Matrix(2, 2, left), sp.Matrix(2, 2, right)
