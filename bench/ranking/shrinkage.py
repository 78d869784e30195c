"""Variances that few observations know badly, shrunk towards what all groups together know."""

import math
from typing import Any

import numpy as np
from scipy import special

FEWEST_TO_SHRINK = 5
"""Fewer rows cannot tell how their variances scatter."""
_HETEROGENEITY = 1.645
"""Standard errors that are added to the scatter of variances, for an upper 95 % limit."""
_FLOOR = 0.01
"""Share of the pooled variance below which a variance counts as that much: a row without scatter would
otherwise decide alone how far the variances lie apart.
"""


def shrunk(variances: Any, degrees: Any) -> tuple[Any, Any]:
    """Shrink variances towards the one that all groups together have, and return them with their degrees.

    After Smyth (Statistical Applications in Genetics and Molecular Biology 3, 2004, section 6): if the
    true variances scatter as scaled inverse chi-square with d0 degrees of freedom, the best estimate is
    the mean of own and prior variance weighted by their degrees, and has the sum of both. d0 is found from
    the scatter of the logarithms. Two things differ, both of which err on the side of too few differences:
    the prior is the pooled variance, which is larger than the geometric mean, and d0 comes from an upper
    limit of the scatter and is at most what all groups together know.

    Args:
        variances, degrees: (groups,); groups with 0 degrees take no part and are returned as they are.
    """
    known = degrees > 0
    if known.sum() < FEWEST_TO_SHRINK or not variances[known].any():
        return variances, degrees
    v, d = variances[known], degrees[known]
    pooled = (v * d).sum() / d.sum()
    logs = np.log(np.maximum(v, _FLOOR * pooled)) - special.digamma(d / 2) + np.log(d / 2)
    sampling = special.polygamma(1, d / 2).mean()
    scatter = logs.var(ddof=1)
    scatter += _HETEROGENEITY * math.sqrt(2 / (len(v) - 1)) * max(scatter, sampling)
    prior = d.sum() - d
    if scatter > sampling:
        prior = np.minimum(prior, 2 * _inverse_trigamma(scatter - sampling))
    better, total = variances.copy(), degrees.copy()
    better[known] = (prior * pooled + d * v) / (prior + d)
    total[known] = d + prior
    return better, total


def _inverse_trigamma(y: float) -> float:
    """Solve trigamma(x) = y by Newton's method, as in the appendix of Smyth (2004)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / y) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x
