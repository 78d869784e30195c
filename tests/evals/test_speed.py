"""Latency and throughput of a generator whose speed is known."""

from __future__ import annotations

import time

import pytest
import torch

from evals.speed import Latency, Throughput
from tests.helpers.waiting import Clock

CPU = torch.device("cpu")


def test_they_measure_the_time_that_a_call_takes(monkeypatch):
    clock, calls = Clock(), []
    monkeypatch.setattr(time, "perf_counter", clock)

    def generate(count):
        calls.append(count)
        clock.now += (
            0.5 if len(calls) == 1 else 0.004 + 0.001 * (len(calls) % 3)
        )  # the first one warms up

    assert Latency(seconds=0.05).measure(generate, CPU) == pytest.approx(5)
    assert set(calls) == {1}
    assert len(calls) == 1 + 10  # they fill a twentieth of a second
    calls.clear()
    assert Throughput(batch=20, seconds=0.001).measure(generate, CPU) == pytest.approx(20 / 0.005)
    assert set(calls) == {20}
    assert len(calls) == 1 + 5  # the least


@pytest.mark.parametrize(("metric", "unit", "batch"), [(Latency, "ms", 1), (Throughput, "images/s", 64)])
def test_their_conditions_name_unit_batch_and_device(metric, unit, batch):
    assert metric().conditions(CPU).startswith(f"{unit}, batch {batch}, cpu")
