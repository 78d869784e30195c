"""Every built-in teacher, metric, extractor and data set whose files are shipped keeps its contract."""

from __future__ import annotations

from bench import registry
from bench.testing import DatasetContract, ExtractorContract, MetricContract, TeacherContract


class TestTeachers(TeacherContract):
    names = ("edm-digits", "gaussian", "gmm-ring")


class TestMetrics(MetricContract):
    names = tuple(sorted({*registry.metrics.entries()} - {"kid"}))


class TestKID(MetricContract):
    name = "kid"
    settings = {"subsets": 20, "size": 200}  # which takes a 50th of the time


class TestExtractors(ExtractorContract):
    names = ("digits", "fashion", "pixels")


class TestDatasets(DatasetContract):
    names = ("digits", "gaussian", "gmm-ring")
