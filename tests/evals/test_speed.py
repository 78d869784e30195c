"""Latency and throughput of a generator whose speed is known."""

from __future__ import annotations

import time

import pytest
import torch

from evals.speed import Latency, Throughput

CPU = torch.device("cpu")


def test_they_measure_the_time_that_a_call_takes():
    calls = []

    def generate(count):
        calls.append(count)
        time.sleep(0.05 if len(calls) == 1 else 0.005)  # the first call warms up and does not count

    assert 5 <= Latency(seconds=0.05).measure(generate, CPU) < 40
    assert set(calls) == {1}
    calls.clear()
    throughput = Throughput(batch=20, seconds=0.05).measure(generate, CPU)
    assert set(calls) == {20}
    assert 20 / 0.04 < throughput <= 20 / 0.005


@pytest.mark.parametrize(("metric", "unit", "batch"), [(Latency, "ms", 1), (Throughput, "images/s", 64)])
def test_their_conditions_name_unit_batch_and_device(metric, unit, batch):
    assert metric().conditions(CPU).startswith(f"{unit}, batch {batch}, cpu")
