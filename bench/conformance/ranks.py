"""A few updates of a method by two processes that share its batches."""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from bench import distributed, registry
from bench.conformance.finding import Fault, NotApplicable
from bench.conformance.method_subject import CPU, MethodSubject, in_double, to_double
from bench.files.tensors import load_tensors, save_tensors
from bench.launching.ranks import run_together


def weights_of_two_processes(subject: MethodSubject) -> dict[str, Tensor]:
    """The generator's weights after some updates by two processes, which import the plugin anew.

    Raises Fault if they fail, and NotApplicable for a method that only this process knows.
    """
    entry = registry.methods.entries()[subject.name]
    if not (entry.target or entry.plugin):
        raise NotApplicable("the method is registered by code of this process alone")
    plugins = [str(file) for file in (*subject.plugins, entry.plugin) if file]
    asked = {"name": subject.name, "overrides": dict(subject.overrides), "plugins": plugins}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-P", "-m", "bench.conformance.ranks", json.dumps(asked), str(file)]
        code = run_together(command, 2, dict(os.environ) | {"OMP_NUM_THREADS": "1"})
        if code or not file.exists():
            raise Fault(
                f"two processes that share the batch end with code {code}",
                "see what they say above; a loss may draw in a way that parts of a batch cannot share",
            )
        return load_tensors(file)[0]


def main(asked: str, file: str) -> None:
    """Carry out this process's share, and write the weights if it is the main one."""
    facts = json.loads(asked)
    for plugin in facts["plugins"]:
        registry.load_plugin(plugin)
    subject = MethodSubject(facts["name"], facts["overrides"])
    torch.set_num_threads(1)
    with distributed.process_group(CPU), in_double():
        batch = 2 * max(8, subject.make().together)
        trainer = to_double(subject.trainer(late=True, batch=batch))
        for _ in range(4):
            trainer.iteration()
        distributed.wait_for_all()  # so that neither ends while the other still listens
    if distributed.is_main():
        save_tensors(Path(file), dict(trainer.method.generator.state_dict()), {})


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # at once, as now and then a thread of torch aborts an interpreter that winds down
