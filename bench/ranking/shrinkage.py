"""Variances that few degrees of freedom know badly, improved by those of other groups."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import special

FEWEST = 5
"""Fewer groups cannot tell how their variances scatter."""
LEAST_DEGREES = 2
"""A variance of fewer degrees of freedom tells too little of its own group to be mixed with others."""
_HETEROGENEITY = 1.645
"""Standard errors that are added to the scatter of variances, for an upper 95 % limit."""
_FLOOR = 0.01
"""Share of the pooled variance below which a variance counts as that much: a row without scatter would
otherwise decide alone how far the variances lie apart.
"""
_OUTLIER = 0.001
"""Chance that any of several equal variances is left out as larger than the others."""


@dataclass(frozen=True)
class Variance:
    """Variances of means (groups,), each known to so many degrees of freedom (groups,)."""

    of_mean: Any
    degrees: Any

    @classmethod
    def nothing(cls, groups: int) -> Self:
        """Return the variance of what does not vary."""
        return cls(np.zeros(groups), np.ones(groups))


def together(parts: list[Variance]) -> Variance:
    """Add variances; the degrees of freedom of the sum are Satterthwaite's (Biometrics Bulletin 2, 1946)."""
    variance = sum(part.of_mean for part in parts)
    spread = sum(part.of_mean**2 / part.degrees for part in parts)
    return Variance(
        variance, np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    )


def shrunk(variances: Any, degrees: Any, apart: Any = False) -> tuple[Any, Any]:
    """Shrink variances towards the one that all groups together have, and return them with their degrees.

    After Smyth (Statistical Applications in Genetics and Molecular Biology 3, 2004, section 6): if the
    true variances scatter as scaled inverse chi-square with d0 degrees of freedom, the best estimate is
    the mean of own and prior variance weighted by their degrees, and has the sum of both. d0 is found from
    the scatter of the logarithms. Two things differ, both of which err on the side of too few differences:
    the prior is the pooled variance, which is larger than the geometric mean, and d0 comes from an upper
    limit of the scatter and is at most what all groups together know.

    Args:
        variances, degrees: (groups,). Groups of fewer than ``LEAST_DEGREES`` take no part and are
            returned as they are.
        apart: (groups,), true for groups that stay out as well if their variance is larger than those of
            the others beyond chance. Only a reason that does not lie in the variance itself keeps the
            choice from picking the quiet ones among equals.
    """
    takes_part = degrees >= LEAST_DEGREES
    takes_part &= ~(np.asarray(apart) & _outliers(variances, degrees, takes_part))
    if takes_part.sum() < FEWEST or not variances[takes_part].any():
        return variances, degrees
    v, d = variances[takes_part], degrees[takes_part]
    pooled = (v * d).sum() / d.sum()
    logs = np.log(np.maximum(v, _FLOOR * pooled)) - special.digamma(d / 2) + np.log(d / 2)
    sampling = special.polygamma(1, d / 2).mean()
    scatter = logs.var(ddof=1)
    scatter += _HETEROGENEITY * math.sqrt(2 / (len(v) - 1)) * max(scatter, sampling)
    prior = d.sum() - d
    if scatter > sampling:
        prior = np.minimum(prior, 2 * _inverse_trigamma(scatter - sampling))
    better, total = variances.copy(), degrees.copy()
    better[takes_part] = (prior * pooled + d * v) / (prior + d)
    total[takes_part] = d + prior
    return better, total


def _outliers(variances: Any, degrees: Any, among: Any) -> Any:
    """Return which groups have a variance larger than that of the others together, by the F test."""
    found = np.zeros(len(variances), dtype=bool)
    for _ in range(3):  # an outlier hides others
        left = among & ~found
        rest = (left * degrees).sum() - left * degrees
        of_rest = (left * variances * degrees).sum() - left * variances * degrees
        pooled = np.divide(of_rest, rest, out=np.full(len(found), np.inf), where=rest > 0)
        limit = special.fdtri(
            np.maximum(degrees, 1), np.maximum(rest, 1), 1 - _OUTLIER / max(left.sum(), 1)
        )
        found |= among & (variances > limit * pooled)
    return found


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
