"""From settings to a finished study: opens it, chooses the launcher, runs the loop."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.engine.budget import Account, Budget
from crayai.hpo.engine.checkpoints import Checkpoints
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.interrupts import Interrupts
from crayai.hpo.engine.loop import Loop
from crayai.hpo.engine.observer import Observer, Observers
from crayai.hpo.engine.outputs import Outputs
from crayai.hpo.engine.policies import policies_of
from crayai.hpo.engine.provenance import provenance
from crayai.hpo.engine.resume import AT_REST, OpenStudy, open_study
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.sight import Sight
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.errors import CrayaiError, LaunchError, SettingsError, StoreError
from crayai.hpo.launch.base import Launcher
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.containers.images import check_image
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.launch.wrapping import Wrapping


@dataclass(frozen=True, slots=True)
class Conducted:
    """How far a driver came.

    Attributes:
        search: The search.
        end_reason: Why it was left before its end; empty: it is over, or a signal asked for it.
        signal: The signal that asked to stop; 0: none did.
        checkpoints: The directory of checkpoints.
        is_out_of_time: Whether the same command could go on at once, elsewhere.
        has_left: Whether evaluations go on for the next driver.
    """

    search: Search
    end_reason: str
    signal: int
    checkpoints: Path
    is_out_of_time: bool
    has_left: bool


def conduct(
    study: Study,
    root: Path,
    settings: EvaluationSettings,
    observers: Sequence[Observer] = (),
    *,
    budget: Budget | None = None,
    extend: bool = False,
    is_brief: bool = False,
) -> Conducted:
    """Run `study` in the directory `root` until it is over, the budget used up, or a signal stops it.

    If `is_brief`, only for as long as there is something else to do than to wait.

    Raises:
        SettingsError: The command's program does not exist, or the directory cannot be written to.
        StudyChanged: The study there has other settings.
        StudyFailed: The program fails whatever the hyperparameters.
        StudyLocked: Another driver works on the study there.
    """
    check_program(study, settings)
    settings.check_here()
    with open_study(root, study, extend=extend) as opened:
        checkpoints = _checkpoints(opened, settings)
        sight = _sight(opened, settings, checkpoints)
        observer = Observers([*observers, sight])
        observer.begin(opened.search, was_resumed=opened.was_resumed, checkpoints=checkpoints.root)
        if not opened.log.has_locks:
            observer.notice(
                f"the file system of {opened.directory.root} has no locks that all machines see: the files "
                f"{opened.directory.lock.name}.N keep a second driver away; leave them there"
            )
        launcher = settings.launcher(opened.directory.root, opened.study_id, sight.wrapping)
        if isinstance(launcher, LocalLauncher):
            launcher.start()
        loop = _loop(opened, settings, launcher, observer, budget or Budget(), checkpoints, sight)
        loop.is_brief = is_brief
        _run(loop, opened)
        return Conducted(
            opened.search,
            loop.end_reason,
            loop.interrupts.signal,
            checkpoints.root,
            loop.is_out_of_time,
            loop.has_left,
        )


def _run(loop: Loop, opened: OpenStudy) -> None:
    """Run the loop; leave nothing behind, and on record why it stopped."""
    stopped = "the driver died"
    try:
        with loop.interrupts.caught():
            loop.run()
        stopped = loop.end_reason
    except CrayaiError as error:
        stopped = str(error).splitlines()[0]
        raise
    finally:
        if not loop.has_left:
            loop.launcher.close()
        loop.observer.end(opened.search)
        with suppress(StoreError):
            opened.log.record_settings({"stopped": stopped, AT_REST: not loop.has_left})


def _sight(opened: OpenStudy, settings: EvaluationSettings, checkpoints: Checkpoints) -> Sight:
    """Return who looks at what evaluations are made with, after what is known of it was recorded."""
    root, uses_checkpoints = opened.directory.root, opened.search.study.uses_checkpoints
    wrapping = settings.wrapping(root, checkpoints.root if uses_checkpoints else None)
    opened.agree_on_surroundings(wrapping, settings.start)
    check_environment(settings, wrapping)
    sight = Sight(opened=opened, wrapping=wrapping, start=settings.start, is_here=settings.is_here)
    sight.take_in()
    opened.record_provenance(provenance(wrapping, settings.start, root, is_elsewhere=settings.is_elsewhere))
    return sight


def _checkpoints(opened: OpenStudy, settings: EvaluationSettings) -> Checkpoints:
    elsewhere = opened.agreed_checkpoint(settings.checkpoint)
    return Checkpoints(
        root=opened.directory.checkpoints(elsewhere, opened.study_id),
        search=opened.search,
        keep=settings.keep,
        most_gib=settings.checkpoint_gib,
        most_files=settings.checkpoint_files,
    )


def _loop(
    opened: OpenStudy,
    settings: EvaluationSettings,
    launcher: Launcher,
    observer: Observer,
    budget: Budget,
    checkpoints: Checkpoints,
    sight: Sight,
) -> Loop:
    tasks = TaskMaker(
        search=opened.search,
        checkpoints=checkpoints,
        directory=opened.directory,
        study_id=opened.study_id,
        caller=Path.cwd(),
        source=settings.source,
        time_limit_seconds=settings.time_limit_seconds,
        wrapping=sight.wrapping,
        seen=None if sight.is_here else sight.file,
    )
    return Loop(
        search=opened.search,
        launcher=launcher,
        tasks=tasks,
        outputs=Outputs(opened.directory, opened.search, keep_all=settings.keep_output),
        account=Account(
            budget,
            opened.search,
            worked_seconds=opened.worked_seconds,
            slots=settings.most_at_once,
            nodes_per_evaluation=settings.nodes_per_evaluation,
        ),
        policies=policies_of(settings.failures),
        observer=observer,
        interrupts=Interrupts(settings.grace_seconds),
    )


def check_program(study: Study, settings: EvaluationSettings) -> None:
    """Refuse a command whose program does not exist; where there is a container, one whose image does not.

    Raises:
        LaunchError: There is no such image, or no engine.
        SettingsError: With the program and where it was looked for.
    """
    if settings.container is not None:
        check_image(settings.container, is_elsewhere=settings.is_elsewhere)
        return
    program = study.filled_command.program
    if program is None or settings.urika is not None:
        return
    if "/" not in program and settings.has_workers:
        return  # workers have a PATH of their own
    start = settings.start
    path = f"{settings.environment}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = (start / program).is_file() if "/" in program else shutil.which(program, path=path)
    if not found:
        where = str(start) if "/" in program else "PATH"
        hint = f"; did you mean './{program}'?" if "/" not in program and (start / program).is_file() else ""
        raise SettingsError(
            f"the command {study.command!r} cannot run: there is no program {program!r} in {where}{hint}"
        )
    if "/" in program and not os.access(start / program, os.X_OK):
        raise SettingsError(
            f"the command {study.command!r} cannot run: {program!r} is not executable; chmod +x {program}"
        )


def check_environment(settings: EvaluationSettings, wrapping: Wrapping) -> None:
    """Refuse an environment that is not inside the container, which is entered once for that.

    Where evaluations run elsewhere, an engine that runs nothing here may run them there.

    Raises:
        LaunchError: There is no such environment, or the engine runs nothing.
    """
    container = settings.container
    if container is None or not settings.environment or container.engine == "pyxis":
        return
    variables = [f"{name}={text}" for name, text in wrapping.variables().items()]
    answer = ask(["env", *variables, *wrapping.around(["/bin/sh", "-c", ":"], settings.start, {}, "crayai:probe")])
    if "has no environment" in answer.err:
        raise LaunchError(
            f"conda_env: there is no environment {settings.environment} inside {container.line}: give its path there, "
            "or bind it (binds)"
        )
    if answer.code != 0 and settings.is_here:
        raise LaunchError(f"the container {container.line} runs nothing here:\n{answer.err}")
