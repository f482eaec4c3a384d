"""Stand-ins for licensed body files, in their exact formats: the free body with invented correctives and fingers."""

import functools
import io
import pickle
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.sparse

from hmralign.body.free_body import load_free_body
from hmralign.body.hand_fold import TREES

_KINDS = {24: "SMPL", 52: "SMPLH", 55: "SMPLX"}


@functools.lru_cache(maxsize=8)
def _stand_in(joints: int, components: int, scale: float) -> dict[str, np.ndarray]:
    free, rng = load_free_body("3k5"), np.random.default_rng(joints)
    template, shapedirs = free.v_template.double().numpy(), free.shapedirs.double().numpy()
    J, weights = free.J_template.double().numpy()[:24], free.weights.double().numpy()
    weights = weights / weights.sum(1, keepdims=True)
    vertices, tree = len(template), TREES[joints]
    targets = [*J[: 24 if joints == 24 else 22], *(() if joints < 55 else J[15] + rng.normal(0, 0.03, (3, 3)))]
    if joints > 24:
        for side in (22, 23):
            sign = 1.0 if side == 22 else -1.0
            forward = np.array([0.03, 0.01, -0.03, -0.01, 0.02])  # roots of fingers 2-5 have their mean at the hand
            for finger in range(5):
                start = J[side] if finger < 4 else J[side] - [sign * 0.08, 0, 0]
                targets += [start + np.array([sign * 0.02 * k, 0, forward[finger]]) for k in range(3)]
    arrays = {
        "v_template": template * scale + [0.01, -0.2, 0.03],  # a pelvis that is not at the origin
        "shapedirs": np.concatenate(
            [shapedirs * scale, rng.normal(0, 1e-3, (vertices, 3, components - shapedirs.shape[-1]))], axis=-1
        ),
        "posedirs": rng.normal(0, 1e-3, (vertices, 3, 9 * (joints - 1))),
        "J_regressor": np.stack([_regressor_row(template, target) for target in targets]),
        "weights": weights if joints == 24 else _with_fingers(weights, joints, rng),
        "kintree_table": np.array([[2**32 - 1, *tree[1:]], range(joints)], np.uint32),
        "f": free.faces.numpy().astype(np.uint32),
    }
    arrays["J"] = arrays["J_regressor"] @ arrays["v_template"]
    if joints > 24:
        for side in "lr":
            arrays[f"hands_components{side}"] = np.eye(45)
            arrays[f"hands_mean{side}"] = rng.normal(0, 0.3, 45)
            arrays[f"hands_coeffs{side}"] = rng.normal(0, 1, (20, 45))
    return arrays


def stand_in(joints: int = 24, components: int = 10, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Arrays of a body with 24 (SMPL), 52 (SMPL-H) or 55 joints (SMPL-X); its trunk and limbs are the free body's."""
    return dict(_stand_in(joints, components, scale))


def _regressor_row(vertices: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights of the 40 nearest vertices that sum to one and meet the target."""
    near = np.argsort(np.linalg.norm(vertices - target, axis=1))[:40]
    system = np.concatenate([vertices[near].T, np.ones((1, len(near)))])
    row = np.zeros(len(vertices))
    row[near] = np.linalg.lstsq(system, [*target, 1.0], rcond=None)[0]
    return row


def _with_fingers(weights: np.ndarray, joints: int, rng: np.random.Generator) -> np.ndarray:
    """Hand skin split over fingers 2-5, some wrist skin given to the thumb, some head skin to jaw and eyes."""
    wide = np.zeros((len(weights), joints))
    wide[:, :22] = weights[:, :22]
    for hand, wrist, first in ((22, 20, joints - 30), (23, 21, joints - 15)):
        wide[:, first : first + 12] = weights[:, [hand]] * rng.dirichlet(np.full(12, 0.3), len(weights))
        wide[:, first + 12 : first + 15] = 0.3 * weights[:, [wrist]] * rng.dirichlet(np.ones(3), len(weights))
        wide[:, wrist] *= 0.7
    if joints == 55:
        wide[:, 22:25] = 0.4 * weights[:, [15]] * rng.dirichlet(np.ones(3), len(weights))
        wide[:, 15] *= 0.6
    return wide


def write_npz(folder: Path, arrays: dict, name: str | None = None) -> Path:
    """As the official `.npz`: with arrays of objects beside the plain ones, which nobody may need to read."""
    path = folder / f"{name or _KINDS[arrays['weights'].shape[1]] + '_NEUTRAL'}.npz"
    np.savez(path, **arrays, part2num=np.array({"Pelvis": 0}, dtype=object))
    return path


def pickled_content(arrays: dict) -> dict:
    """What an official `.pkl` of SMPL 1.0 holds: a sparse regressor, chumpy's shape directions, and more."""
    return {
        **arrays,
        "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]),
        "J_regressor_prior": scipy.sparse.csc_matrix(arrays["J_regressor"]),
        "weights_prior": arrays["weights"],
        "vert_sym_idxs": np.arange(len(arrays["v_template"])),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "pose_training_info": {"gender": "neutral", "n_bases": np.int64(207), "words": ["a", ("b", None)]},
    }


@contextmanager
def fake_chumpy():
    """`chumpy.ch.Ch` and `chumpy.reordering.Select`, so that a pickle can refer to them."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}

    class Ch:
        def __init__(self, **state):
            self.__dict__.update(state)

    class Select(Ch):
        pass

    for kind, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        setattr(modules[module], kind.__name__, kind)
    sys.modules.update(modules)
    try:
        yield Ch, Select
    finally:
        for name in modules:
            del sys.modules[name]


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: byte strings for all text, and the modules' names of that time."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def _save_string(self, text):
        raw = text.encode("latin1") if isinstance(text, str) else text
        if self.proto == 0:
            self.write(b"S" + repr(raw)[1:].encode("latin1") + b"\n")
        else:
            self.write(b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = _save_string

    def save_global(self, obj, name=None):
        place = obj.__module__, name or obj.__qualname__
        old = {"numpy._core": "numpy.core", "scipy.sparse._csc": "scipy.sparse.csc", "copyreg": "copy_reg",
               "builtins": "__builtin__"}  # fmt: skip
        module = place[0]
        for new, was in old.items():
            module = module.replace(new, was)
        self.write(f"c{module}\n{place[1]}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[types.FunctionType] = dispatch[types.BuiltinFunctionType] = save_global


def python2_pickle(content: object, protocol: int) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, protocol, fix_imports=False).dump(content)
    return file.getvalue()


def write_pkl(folder: Path, arrays: dict, *, protocol: int = 2, python2: bool = True, chumpy: bool = True) -> Path:
    path = folder / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    content = pickled_content(arrays)
    with fake_chumpy() as (Ch, Select):
        if chumpy:
            content["shapedirs"] = Ch(x=content["shapedirs"], _dirty_vars=set(), _itr=None, _status="new")
            flat = Ch(x=content["v_template"].ravel())
            shape = content["v_template"].shape
            content["v_template"] = Select(a=flat, idxs=np.arange(flat.x.size), preferred_shape=shape)
        raw = python2_pickle(content, protocol) if python2 else pickle.dumps(content, protocol)
    path.write_bytes(raw)
    return path
