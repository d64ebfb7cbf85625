"""The engine that a comparison asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from detloss.compare.engines import Engine
from detloss.compare.plan import Plan, gpus
from detloss.compare.plan.compare_config import LocalEngine, RayEngine, SlurmEngine
from detloss.errors import ConfigError


@contextmanager
def opened(plan: Plan) -> Iterator[Engine]:
    """Open the plan's engine, and close it at the end.

    Raises:
        ConfigError: what it needs is not installed, or it runs nothing.
        DetlossError: it cannot be reached.
    """
    settings = plan.config.engine
    engine: Engine
    try:
        match settings:
            case LocalEngine():
                from detloss.compare.engines.local import LocalJobs, visible_gpus  # noqa: PLC0415 - as are all below

                one_each = gpus(plan.arms[0].config) if plan.jobs != 1 else 0
                engine = LocalJobs(plan.folder / ".images", visible_gpus(one_each))
            case SlurmEngine():
                from detloss.compare.engines.slurm import SlurmJobs  # noqa: PLC0415

                engine = SlurmJobs(settings, plan.folder / ".slurm")
            case RayEngine():
                from detloss.compare.engines.ray import RayJobs  # noqa: PLC0415

                engine = RayJobs(settings)
            case _:
                raise ConfigError("engine: print runs nothing. Fix: run its commands, or name another engine.")
    except ImportError as error:
        raise ConfigError(
            f"engine: {settings.name} needs {error.name}, which is not installed. Fix: "
            f"pip install 'detloss[{settings.name}]'"
        ) from error
    try:
        yield engine
    finally:
        engine.close()
