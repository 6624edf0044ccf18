r"""Selfless sequential learning: two ReLU units that choose how much room A leaves, and inhibition.

The third weight of the three-weight world is free because A never sees it. Here the second and the
third weight read out two ReLU units, and A's input makes these units active by :math:`h_1,h_2\ge0`.
"""

import sympy as sp

from cl_lib.derivations.three_weights import LAM, THETA, loss_b, quadratic_penalty, value_at


def loss_a_of_units(h1, h2):
    r"""Task A, :math:`L_A=\frac12[(\theta_1-1)^2` :math:`{}+(h_1\theta_2+h_2\theta_3-1)^2]`.

    With activations (1, 0) this is :func:`cl_lib.derivations.loss_a`, which never sees θ₃.
    """
    return ((THETA[0] - 1) ** 2 + (h1 * THETA[1] + h2 * THETA[2] - 1) ** 2) / 2


def fisher_of_units(h1, h2):
    r"""All of A's Fisher, a Matrix: 1 for θ₁, and :math:`hh^\top` for the two readout weights.

    As in :func:`cl_lib.derivations.fisher_diagonal_gaussian`, labels are drawn from the model,
    :math:`y=f+e` with :math:`e\sim N(0,1)`; the mean of :math:`e_ie_j` is integrated.
    """
    outputs = (THETA[0], h1 * THETA[1] + h2 * THETA[2])
    noise = sp.symbols("e1:3", real=True)
    # the slope of log p is e df/dθ, summed over the outputs
    slopes = [sum(e * sp.diff(f, t) for e, f in zip(noise, outputs, strict=True)) for t in THETA]
    return sp.Matrix(3, 3, lambda i, j: _gaussian_mean(slopes[i] * slopes[j], noise))


def _gaussian_mean(polynomial, noise):
    """Expectation over independent standard normal variables."""
    terms = sp.Poly(polynomial, *noise).terms()
    return sum(factor * sp.prod(_normal_moment(k) for k in powers) for powers, factor in terms)


@sp.cacheit
def _normal_moment(k):
    e = sp.Dummy("e", real=True)
    return sp.integrate(e**k * sp.exp(-(e**2) / 2) / sp.sqrt(2 * sp.pi), (e, -sp.oo, sp.oo))


def after_b(h1, h2, readout, lam=LAM, whole=False):
    r"""B learned under A's Fisher, from A's solution :math:`(1,\theta_2,\theta_3)`.

    Parameters
    ----------
    h1, h2
        The units' activations in task A.
    readout : (Expr, Expr)
        θ₂ and θ₃ after A, with :math:`h_1\theta_2+h_2\theta_3=1`.
    whole : bool
        Penalise with the whole Fisher instead of its diagonal.

    Returns
    -------
    dict
        ``"end"``, the weights after B, and the losses ``"A"`` and ``"B"`` there.

    Raises
    ------
    ValueError
        If the readout does not solve A, or if the best weights are not unique: with the whole Fisher
        of two units that are alike, whose difference nobody holds.
    """
    if sp.simplify(h1 * readout[0] + h2 * readout[1] - 1) != 0:
        raise ValueError(f"readout is {readout}, which does not solve A: its output must be 1")
    fisher = fisher_of_units(h1, h2)
    importance = fisher if whole else tuple(fisher.diagonal())
    total = loss_b() + quadratic_penalty(importance, (1, *readout), lam)
    solution = sp.solve([sp.diff(total, t) for t in THETA], THETA, dict=True)[0]
    if len(solution) < len(THETA):
        raise ValueError("the minimum is not unique: take units that differ, or the diagonal")
    end = tuple(sp.factor(solution[t]) for t in THETA)
    return {"end": end, "A": value_at(loss_a_of_units(h1, h2), end), "B": value_at(loss_b(), end)}


def unit_circle(t):
    r"""Activations :math:`(c,s)` with :math:`c^2+s^2=1`, rational in t.

    From one unit alone, (1, 0) at t = 0, to both alike at :math:`t=\sqrt2-1`. With θ₂ = c, θ₃ = s
    they all solve A.
    """
    t = sp.sympify(t)
    return (1 - t**2) / (1 + t**2), 2 * t / (1 + t**2)


def losses_by_inhibition(r, lam=LAM):
    r"""What B's training leaves of A and of B, as a function of :math:`r=h_1h_2` alone.

    .. math:: L_A=\frac12\Big(\frac{g\,r\sqrt{1+2r}}{1+\lambda r^2}\Big)^2,\qquad
              L_B=\frac12\Big(\frac{g\,\lambda r^2}{1+\lambda r^2}\Big)^2,\qquad g=9-\sqrt{1+2r}

    g is what B asks for beyond A's solution. Both are zero at r = 0 for every λ. For activations on
    the unit circle; :func:`after_b` is what it is held against.

    Returns
    -------
    (Expr, Expr)
        The losses of A and of B.
    """
    total = sp.sqrt(1 + 2 * r)
    gap, pull = 9 - total, 1 + lam * r**2
    return (gap * r * total / pull) ** 2 / 2, (gap * lam * r**2 / pull) ** 2 / 2


def best_strength(r):
    r"""The λ with the smallest sum of both losses, and that sum.

    .. math:: \lambda^*=1+2r,\qquad L_A+L_B=\frac{g^2}2\,\frac{q}{1+q},\qquad q=r^2(1+2r)

    Returns
    -------
    (Expr, Expr)
        The only zero of the slope in λ > 0, solved for, and the sum there.
    """
    share = sp.Dummy("r", positive=True)
    total = sum(losses_by_inhibition(share))
    (best,) = sp.solve(sp.numer(sp.together(sp.diff(total, LAM))), LAM)
    return tuple(sp.simplify(found.subs(share, r)) for found in (best, total.subs(LAM, best)))


def inhibition(h, weights=None):
    r"""The regulariser :math:`R=\frac1M\sum_{i\ne j}w_{ij}\sum_mh_i^mh_j^m` of one layer.

    Parameters
    ----------
    h : Matrix
        Activations, a row for each of M samples, a column for each neuron.
    weights : Matrix, optional
        Symmetric :math:`w_{ij}`; default all 1 (SNI). The diagonal does not count.
    """
    n = h.cols
    weights = sp.ones(n) if weights is None else weights
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return sum(weights[i, j] * h[m, i] * h[m, j] for i, j in pairs for m in range(h.rows)) / h.rows


def inhibition_gradient(n_samples, n_neurons):
    r"""Proof that :math:`\partial R/\partial h_i^m=\frac2M\sum_{j\ne i}w_{ij}h_j^m`.

    Returns
    -------
    (Matrix, Matrix)
        The derivative of :func:`inhibition` by sympy, and the right side.
    """
    h = sp.Matrix(n_samples, n_neurons, lambda m, i: sp.Symbol(f"h_{i + 1}^{m + 1}", real=True))
    w = sp.Matrix(n_neurons, n_neurons, lambda i, j: sp.Symbol(f"w_{min(i, j) + 1}{max(i, j) + 1}"))
    value = inhibition(h, w)
    slopes = h.applyfunc(lambda entry: sp.expand(sp.diff(value, entry)))
    others = w - sp.diag(*w.diagonal())
    return slopes, (2 * h * others / n_samples).applyfunc(sp.expand)


def competition(n):
    r"""Curvatures of the inhibition of n neurons in one sample: {2(n-1): 1, -2: n-1}.

    The curvature is positive along the common level (1, ..., 1), which descent brings down, and
    negative for every difference between neurons, which descent makes grow: they compete.
    """
    h = sp.Matrix([sp.symbols(f"h1:{n + 1}", real=True)])
    return sp.hessian(inhibition(h), tuple(h)).eigenvals()


def discounts(a, b):
    r"""How strongly neurons of importances a, b inhibit each other: the sum's and the minimum's way.

    Returns
    -------
    (Expr, Expr, Expr)
        :math:`e^{-(a+b)}`, :math:`\min(e^{-a},e^{-b})`, and their ratio :math:`e^{-\min(a,b)}`.
    """
    return sp.exp(-(a + b)), sp.Min(sp.exp(-a), sp.exp(-b)), sp.exp(-sp.Min(a, b))


def neighbourhood_share(width):
    r"""Mean weight of a pair under a Gaussian over indices, for a layer of very many neurons.

    .. math:: \int_0^1\!\!\int_0^1e^{-(u-v)^2/2w^2}\,du\,dv
              =w\sqrt{2\pi}\,\mathrm{erf}\frac1{w\sqrt2}-2w^2\big(1-e^{-1/2w^2}\big)

    ``width`` is :math:`w=\sigma/N`, so the sum over pairs is about :math:`N^2` times this: it grows
    like the N(N-1) of all pairs.

    Returns
    -------
    (Expr, Expr)
        The integral over the distance :math:`d=|u-v|`, whose density is 2(1-d), by sympy; and the
        right side.
    """
    d, w = sp.symbols("d w", positive=True)
    integral = sp.integrate(2 * (1 - d) * sp.exp(-(d**2) / (2 * w**2)), (d, 0, 1))
    closed = w * sp.sqrt(2 * sp.pi) * sp.erf(1 / (w * sp.sqrt(2)))
    closed = closed - 2 * w**2 * (1 - sp.exp(-1 / (2 * w**2)))
    return integral.subs(w, width), closed.subs(w, width)
