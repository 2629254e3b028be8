"""`mlff-curate evaluate`: errors of a trained model on frames."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mlff_curate.errors import UsageError

from .options import (
    committee_option,
    device_option,
    elements,
    group_by_option,
    inputs_argument,
    label_options,
    reading_options,
    run_options,
    table_option,
    target_option,
)
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from mlff_curate.workflows.model_results import Evaluated

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate evaluate ta.model test.extxyz
  mlff-curate evaluate ta.model test.extxyz --committee tb.model --committee tc.model --predictions predicted.extxyz
  mlff-curate evaluate gap.model test.extxyz
  mlff-curate evaluate gap.model new.extxyz --predictions gaps.csv
"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL", type=click.Path())
@inputs_argument
@target_option
@table_option
@click.option(
    "--predictions",
    metavar="FILE",
    type=click.Path(),
    help="Write the prediction for every frame: a CSV for a property; for a potential extxyz, the frames with "
    "model_energy, model_forces and model_stress. Frames need no labels then.",
)
@committee_option
@label_options
@group_by_option
@reading_options
@device_option
@run_options
def evaluate(
    *,
    model: str,
    inputs: tuple[str, ...],
    target: str | None,
    csv: str | None,
    predictions: str | None,
    committee: tuple[str, ...],
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    group_by: str | None,
    device: str,
    seed: int,  # noqa: ARG001 (nothing is drawn; the option is every command's)
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Compare what a model predicts with what frames are labelled with, in all and for each group.

    Of a potential: energies per atom, forces and stresses; of several, errors of their mean, and whether they disagree
    where they are wrong. Of a property: mean absolute and root mean square error, or accuracy and area under the ROC
    curve.
    """
    from mlff_curate.data.checkpoints import kind_of

    start = time.perf_counter()
    reading = {
        "group_by": group_by,
        "type_map": elements(files["type_map"]),
        "units": files["units"],
        "log": files["log"],
    }
    is_potential = kind_of(model, "cgcnn-potential", "cgcnn-property") == "cgcnn-potential"
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    strange: dict[str, object] = (
        {"--target": target, "--csv": csv} if is_potential else {"--committee": committee or None, **_options(keys)}
    )
    for name, value in strange.items():
        if value is not None:
            raise UsageError(
                f"means nothing to {model}, a {'potential' if is_potential else 'property model'}", key=name
            )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        if is_potential:
            from mlff_curate.workflows.evaluate_potential import evaluate_potential_files
            from mlff_curate.workflows.potential_data import PotentialInput

            what = PotentialInput(inputs=inputs, label_keys=keys, **reading)  # type: ignore[arg-type]
            done: Evaluated = evaluate_potential_files(
                model,
                what,
                committee=committee,
                predictions=predictions,
                device=device,
                overwrite=overwrite,
                progress=progress,
            )
        else:
            from mlff_curate.workflows.evaluate import evaluate_files
            from mlff_curate.workflows.property_data import PropertyInput

            done = evaluate_files(
                model,
                PropertyInput(inputs=inputs, target=target, csv=csv, **reading),  # type: ignore[arg-type]
                predictions=predictions,
                device=device,
                overwrite=overwrite,
                progress=progress,
            )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)


def _options(keys: dict[str, str | None]) -> dict[str, str | None]:
    return {f"--{kind}-key": value for kind, value in keys.items()}
