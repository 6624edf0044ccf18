r"""Memory units: when protected weights have no room left, and which step changes a loss most.

A task C comes after A and B of :mod:`cl_lib.derivations.three_weights`, whose solution (1, 1, 8) has no free
weight left. A point here is three weights and, fourth, the memory unit of C.
"""

import sympy as sp

from cl_lib.derivations.three_weights import LAM, THETA, gradient_flow_limit, quadratic_penalty

MEMORY = sp.Symbol("m", real=True)
SPEED = sp.Symbol("s", positive=True)
AFTER_A_AND_B = (1, 1, 8)
FISHER_A_AND_B = (2, 2, 1)


def loss_c(memory=0):
    r"""Task C, :math:`L_C=\frac12[(\theta_1-1)^2` :math:`{}+(\theta_2+\theta_3+m-5)^2]`, m its memory unit.

    It asks for a sum of 5 where B asks for 9: the weights alone cannot solve both.
    """
    return ((THETA[0] - 1) ** 2 + (THETA[1] + THETA[2] + memory - 5) ** 2) / 2


def without_memory(lam=LAM):
    r"""Where EWC ends on C, from (1, 1, 8) and with the importance (2, 2, 1) of A and B.

    .. math:: \theta_2=1-\frac{4}{3+2\lambda},\quad\theta_3=8-\frac{8}{3+2\lambda}

    (2, 2, 1) is the sum of the diagonals of the Hessians of A, (1, 1, 0), and of B, (1, 1, 1).
    """
    penalty = quadratic_penalty(FISHER_A_AND_B, AFTER_A_AND_B, lam)
    return gradient_flow_limit(loss_c() + penalty, AFTER_A_AND_B)


def with_memory(lam=LAM):
    r"""The same with a memory unit m for C, which no penalty holds: (θ, m) = (1, 1, 8, -4).

    The total is zero there, its least value. It is the only minimum for every λ > 0: the returned
    determinant of the Hessian, :math:`2\lambda^2(1+2\lambda)`, is positive.

    Returns
    -------
    (tuple, Expr)
    """
    total = loss_c(MEMORY) + quadratic_penalty(FISHER_A_AND_B, AFTER_A_AND_B, lam)
    point = (*THETA, MEMORY)
    solution = sp.solve([sp.diff(total, p) for p in point], point)
    return tuple(solution[p] for p in point), sp.factor(sp.hessian(total, point).det())


def plain_share(speed=SPEED):
    r"""Share of C's work done by a memory unit that is trained plainly, without EWC: s/(s+2).

    The unit's learning rate is s times that of the weights. The flow :math:`\dot\theta_2=\dot\theta_3=-r`,
    :math:`\dot m=-sr` with the residual :math:`r=\theta_2+\theta_3+m-5` keeps their ratios until r is zero.
    """
    pace = sp.Matrix([1, 1, speed])
    return sp.factor(pace[2] / sum(pace))


def signed_share(residual, speed=SPEED):
    r"""The same for a unit that moves by signed steps, :math:`\dot m=-s\,\mathrm{sign}\,r`.

    With :math:`\dot r=-2r-s` from :math:`r_0>0` the residual is gone at
    :math:`t^*=\int_0^{r_0}\frac{dr}{2r+s}`, so that

    .. math:: \frac{st^*}{r_0}=\frac{s}{2r_0}\log\Big(1+\frac{2r_0}s\Big)

    s is :math:`\varepsilon/\eta`, the unit's step over the learning rate of the weights. Unlike
    :func:`plain_share` it depends on the residual: the larger the gap, the smaller the part of a fixed step.
    """
    r = sp.Symbol("r", positive=True)
    twice_arrival = sp.integrate(2 / (2 * r + speed), (r, 0, residual))
    return speed * sp.logcombine(twice_arrival, force=True) / (2 * residual)


def signed_step(signs):
    r"""Of all steps no entry of which exceeds ε, the signed one lowers the loss most, to first order.

    A gradient with these signs is :math:`g_i=\pm a_i`, :math:`a_i>0`. Any such step is
    :math:`\delta_i=-\varepsilon(1-u_i)\,\mathrm{sign}\,g_i` with :math:`u_i\in[0,2]`; the signed one
    has u = 0.

    Returns
    -------
    (Expr, Expr)
        What the signed step changes, :math:`-\varepsilon\lVert g\rVert_1`, and how much less any
        other achieves, :math:`\varepsilon\sum_iu_ia_i\ge0`.

    Raises
    ------
    ValueError
        If a sign is not 1 or -1.
    """
    if not signs or any(sign not in (1, -1) for sign in signs):
        raise ValueError(f"signs is {signs!r}, but must hold 1 or -1 for each entry of the gradient.")
    n, epsilon = len(signs), sp.Symbol("epsilon", positive=True)
    size = sp.symbols(f"a1:{n + 1}", positive=True)
    slack = sp.symbols(f"u1:{n + 1}", nonnegative=True)
    gradient = [sign * a for sign, a in zip(signs, size, strict=True)]
    best = [-epsilon * sp.sign(g) for g in gradient]
    other = [step * (1 - u) for step, u in zip(best, slack, strict=True)]
    changes = [sum(g * d for g, d in zip(gradient, step, strict=True)) for step in (best, other)]
    return sp.factor(changes[0]), sp.expand(changes[1] - changes[0])


def random_signs(values):
    r"""Mean and mean square of :math:`\sum_i\pm v_i` over all choices of signs: 0 and :math:`\sum_iv_i^2`.

    With :math:`v=\varepsilon g` this is what a step of random signs does to the loss, against the
    :math:`\varepsilon\lVert g\rVert_1` of the signed one; with K times ε, where K random steps lead.
    """
    if not values:
        raise ValueError("values is empty; give at least one number to put a sign in front of.")
    sums = [
        sum(sign * v for sign, v in zip(signs, values, strict=True))
        for signs in sp.cartes((1, -1), repeat=len(values))
    ]
    share = sp.Rational(1, len(sums))
    return sp.expand(share * sum(sums)), sp.expand(share * sum(s**2 for s in sums))


def silencing_shift(weights, bias):
    r"""The shift m at which a ReLU unit is silent for every input in the unit box :math:`[0,1]^n`.

    .. math:: \max_x\,(w^\top x+b+m)=0\iff m=-b-\sum_i\max(w_i,0)

    What the unit receives is linear in each input, so its maximum is at a corner of the box; this
    enumerates the corners. At or below that shift the unit is gated: no input reaches it, and
    neither does a gradient reach its weights.
    """
    corners = sp.cartes((0, 1), repeat=len(weights))
    return -bias - max(sum(w * x for w, x in zip(weights, corner, strict=True)) for corner in corners)
