r"""The three-weight world, and quadratic penalties in it.

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
    r"""Task B, :math:`L_B=\frac12[(\theta_1-1)^2` :math:`{}+(\theta_2+\theta_3-9)^2]`; of 2, no θ₃."""
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
