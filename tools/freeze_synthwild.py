"""Record the hashes of SynthWild's splits, once, before anything is trained on them.

    python tools/freeze_synthwild.py FOLDER

Writes all splits but the one with the user's poses into FOLDER, and their hashes, means and spreads into the frozen
file of their version. Refuses to touch a frozen split: a change of the benchmark needs a new version name.
"""

import argparse
import json
from pathlib import Path

from hmralign.data.shards import open_shards
from hmralign.data.synthetic.synthwild import SPLITS
from hmralign.data.synthwild_folder import fingerprint, folder_name, frozen_splits, open_split, slice_tensors
from hmralign.systems.synth.write_synthwild import write_benchmark

ASSETS = Path(__file__).parents[1] / "src/hmralign/data/synthetic/assets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    args = parser.parse_args()
    frozen = frozen_splits()
    for name in args.splits:
        split = SPLITS[name]
        if split.real_poses:
            continue
        agreement = write_benchmark(args.folder, [name])[name]
        if name in frozen:
            print(name, agreement)
            continue
        opened = open_split(args.folder, name)
        tensors = open_shards(args.folder / folder_name(name)).tensors | slice_tensors(opened.slices)
        frozen[name] = {"examples": len(opened), "sha256": opened.sha256, "fingerprint": fingerprint(tensors)}
        same = {other: facts for other, facts in frozen.items() if SPLITS[other].version == split.version}
        document = {"format_version": 1, "benchmark": split.version, "splits": same}
        (ASSETS / f"{split.version.replace('-', '_')}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(name, "frozen", opened.sha256[:16])


if __name__ == "__main__":
    main()
