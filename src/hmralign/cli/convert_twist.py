"""`hmralign convert twist`: SMPL-style poses become joints and swing-twist annotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class ConvertTwistOptions:
    """Split the rotations of SMPL-style poses into 29 joints and 23 twists, as HypoNet and HybrIK are trained on.

    FILE is an .npz with poses (N, 72), (N, 24, 3) or (N, 24, 3, 3), or AMASS' (N, 156); betas and trans where it has
    them. OUT holds cosine, sine and angle of each twist, and says which joint and which bone each belongs to.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The poses, an .npz archive."""
    out: Path
    """Where the annotation is to be, a name that ends in .npz."""
    body: Path | None = None
    """SMPL, SMPL-H or SMPL-X file of yours, whose rest joints give the bones. Without it they are the free body's, of
    mean shape unless the file's betas are its own."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the file, and nothing else.")] = False


def run_convert_twist(options: ConvertTwistOptions, terminal: Terminal) -> int:
    """Convert, and say how well the poses come back."""
    if options.out.suffix != ".npz":
        raise UsageError(f"--out is '{options.out}'; expected a file name that ends in .npz")
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.data.pose_parameters import read_pose_parameters
    from hmralign.data.twist_annotation import annotate_twists, largest_degrees, write_twists
    from hmralign.structures.counted import counted

    parameters = read_pose_parameters(options.file)
    body = load_free_body("3k5") if options.body is None else load_body(options.body)
    annotation = annotate_twists(parameters, body)
    write_twists(options.out, annotation, parameters, body)
    document = {
        "format_version": 1,
        "out": str(options.out),
        "poses": len(annotation),
        "body": body.name,
        "shaped": annotation.shaped,
        "hands": parameters.has_hands,
        "largest_error_deg": largest_degrees(annotation),
    }
    terminal.answer(document)
    if parameters.betas is not None and not annotation.shaped:
        terminal.say(f"betas not used: {body.name} has other shapes than the file's (--body FILE is theirs)")
    if not parameters.has_hands:
        terminal.say("left_hand, right_hand: not in the file, their twists are marked as not valid")
    back = f"the poses come back within {largest_degrees(annotation):.1g} degrees"
    terminal.say(f"{counted(len(annotation), 'pose')} as 23 twists about bones of {body.name}: {options.out}; {back}")
    return 0
