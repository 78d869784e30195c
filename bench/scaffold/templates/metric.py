"""new-metric: a working example of a metric, to be made into your own."""

from dataclasses import dataclass

from bench.plugin import FeatureMetric, Moments, Statistics, register_metric


@register_metric("new-metric")
@dataclass(frozen=True)
class NewMetric(FeatureMetric):
    """Distance of the means of generated and real features, in deviations of the real; lower is better."""

    # Its parameters, each with a default, which a protocol may set; this example has one.
    floor: float = 1e-3
    """Least deviation by which a difference is divided."""

    direction = "lower"  # or "higher": which is better
    feature = "pool"  # which feature of the protocol's extractor it is computed from
    # What is kept of the features: Moments has mu, sigma and count; FeatureBank all of them, as features.
    statistics = Moments
    reference_statistics = Moments  # of the real images; None for a metric that does not compare

    def value(self, generated: Statistics, reference: Statistics) -> float:
        """The number, from statistics of generated and of real images."""
        deviation = reference["sigma"].diagonal().sqrt().clamp_min(self.floor).to(generated["mu"])
        gap = (generated["mu"] - reference["mu"].to(generated["mu"])) / deviation
        return gap.square().mean().sqrt().item()
