r"""From Bayes' rule to the Fisher: sequential posteriors, Laplace's method, five estimates.

A proof returns both sides, each computed on its own, for the reader to subtract.
"""

import sympy as sp


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
    r"""Logistic unit: :math:`-\sum_n\log p(y_n|x_n)+\frac\tau2w^2`, :math:`p(1|x)=\sigma(wx)`.

    Labels y are 0 and 1.
    """
    ys = list(ys)
    if any(y not in (0, 1) for y in ys):
        raise ValueError(f"ys is {ys}, but labels must be 0 or 1.")
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
