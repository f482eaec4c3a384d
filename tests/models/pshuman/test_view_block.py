"""The block against one that goes picture by picture and row by row, and what must not matter to it."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from hmralign.models.pshuman.view_block import Attention, ViewBlock, ViewSwitches
from hmralign.structures import InputError

D, HEADS, WORDS, SIDE, VIEWS = 8, 2, 5, 6, 4
PUBLISHED = ViewSwitches(views=VIEWS)


def block(switches=PUBLISHED):
    torch.manual_seed(0)
    made = ViewBlock(D, HEADS, WORDS, switches).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def given(groups=2, side=SIDE, views=VIEWS):
    draw = torch.Generator().manual_seed(1)
    rows = 2 * groups * views
    x = torch.randn(rows, side * side, D, generator=draw, dtype=torch.float64)
    return x, torch.randn(rows, 3, WORDS, generator=draw, dtype=torch.float64)


def plain_attention(attn, x, seen):
    """One sequence, head by head."""
    q, k, v = attn.to_q(x), attn.to_k(seen), attn.to_v(seen)
    width, found = D // HEADS, []
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        found.append(((q[:, part] @ k[:, part].T) / width**0.5).softmax(-1) @ v[:, part])
    return attn.to_out[0](torch.cat(found, 1))


def slow(made, x, words):
    """The description of the module, picture by picture. Pictures are keyed by (domain, group, view)."""
    s, groups, third = made.switches, len(x) // (2 * VIEWS), SIDE // 3
    key = [(d, g, v) for d in range(2) for g in range(groups) for v in range(VIEWS)]
    pictures = dict(zip(key, x, strict=True))
    normed = {at: made.norm1(p) for at, p in pictures.items()}
    out = {}
    for d, g, v in key:
        seen = torch.cat([normed[0, g, v], normed[1, g, v]]) if s.joint_domains else normed[d, g, v]
        out[d, g, v] = plain_attention(made.attn1, normed[d, g, v], seen)
    if s.joint_domains and s.face_share:
        for d in range(2):
            for g in range(groups):
                face = out[d, g, VIEWS - 1].T.reshape(1, D, SIDE, SIDE)
                small = interpolate(face, (third, third), mode="bilinear")[0]
                for row in range(third):
                    for column in range(third):
                        at = row * SIDE + third + column
                        out[d, g, 0] = out[d, g, 0].clone()
                        out[d, g, 0][at] = (1 - s.face_share) * out[d, g, 0][at] + s.face_share * small[:, row, column]
    pictures = {at: pictures[at] + out[at] for at in key}
    if s.rows:
        sides = range(VIEWS if s.face_in_rows else VIEWS - 1)
        normed = {at: made.norm_mv(p) for at, p in pictures.items()}
        added = {at: torch.zeros_like(p) for at, p in pictures.items()}
        for d, g, v in key:
            for row in range(SIDE):
                if v in sides:
                    cut = slice(row * SIDE, (row + 1) * SIDE)
                    domains = (0, 1) if s.joint_rows else (d,)
                    seen = torch.cat([normed[e, g, u][cut] for u in sides for e in domains])
                    added[d, g, v][cut] = plain_attention(made.attn_mv, normed[d, g, v][cut], seen)
        pictures = {at: pictures[at] + added[at] for at in key}
    done = []
    for at, text in zip(key, words, strict=True):
        p = pictures[at]
        p = p + plain_attention(made.attn2, made.norm2(p), text)
        wide = made.ff.net[0].proj(made.norm3(p))
        value, gate = wide[:, : 4 * D], wide[:, 4 * D :]
        done.append(p + made.ff.net[2](value * gate * 0.5 * (1 + torch.erf(gate / 2**0.5))))
    return torch.stack(done)


@pytest.mark.parametrize(
    "switches",
    [
        PUBLISHED, replace(PUBLISHED, joint_domains=False), replace(PUBLISHED, rows=False),
        replace(PUBLISHED, joint_domains=False, joint_rows=True), replace(PUBLISHED, face_share=0.0),
        replace(PUBLISHED, face_share=0.9, face_in_rows=True),
    ],
)  # fmt: skip
def test_a_block_is_what_its_description_says(switches):
    made, (x, words) = block(switches), given()
    with torch.no_grad():
        found, expected = made(x, encoder_hidden_states=words), slow(made, x, words)
    assert torch.allclose(found, expected, atol=1e-11)


def test_names_and_shapes_are_those_of_published_weights():
    def attention(name, seen):
        return {f"{name}.to_q.weight": (D, D), f"{name}.to_k.weight": (D, seen), f"{name}.to_v.weight": (D, seen),
                f"{name}.to_out.0.weight": (D, D), f"{name}.to_out.0.bias": (D,)}  # fmt: skip

    norms = {f"{n}.{w}": (D,) for n in ("norm1", "norm2", "norm3", "norm_mv") for w in ("weight", "bias")}
    wide = {"ff.net.0.proj.weight": (8 * D, D), "ff.net.0.proj.bias": (8 * D,), "ff.net.2.weight": (D, 4 * D),
            "ff.net.2.bias": (D,)}  # fmt: skip
    expected = {**norms, **wide, **attention("attn1", D), **attention("attn_mv", D), **attention("attn2", WORDS)}
    assert {name: tuple(t.shape) for name, t in block().state_dict().items()} == expected
    without = {name for name in expected if "_mv" not in name}
    assert set(block(replace(PUBLISHED, rows=False)).state_dict()) == without


def test_groups_know_nothing_of_each_other_and_domains_can_be_swapped():
    made, (x, words) = block(), given()
    with torch.no_grad():
        whole = made(x, encoder_hidden_states=words).unflatten(0, (2, 2, VIEWS))
        x_, words_ = x.unflatten(0, (2, 2, VIEWS)), words.unflatten(0, (2, 2, VIEWS))
        second = made(x_[:, 1].flatten(0, 1), encoder_hidden_states=words_[:, 1].flatten(0, 1))
        swapped = made(x_.flip(0).flatten(0, 2), encoder_hidden_states=words_.flip(0).flatten(0, 2))
    assert torch.allclose(whole[:, 1].flatten(0, 1), second, atol=1e-12)
    assert torch.allclose(whole.flip(0).flatten(0, 2), swapped, atol=1e-12)


def test_sides_may_be_reordered_but_front_and_face_have_their_places():
    made, (x, words) = block(), given(groups=1)
    order = [0, 2, 1, 3]

    def reordered(t, by):
        return t.unflatten(0, (2, 1, VIEWS))[:, :, by].flatten(0, 2)

    with torch.no_grad():
        plain = made(x, encoder_hidden_states=words)
        moved = made(reordered(x, order), encoder_hidden_states=reordered(words, order))
        front_moved = made(reordered(x, [1, 0, 2, 3]), encoder_hidden_states=reordered(words, [1, 0, 2, 3]))
    assert torch.allclose(reordered(plain, order), moved, atol=1e-12)
    assert not torch.allclose(reordered(plain, [1, 0, 2, 3]), front_moved, atol=1e-3)


@pytest.mark.parametrize("detached", [True, False])
def test_gradient_goes_from_the_front_to_the_face_only_where_it_may(detached):
    made, (x, words) = block(replace(PUBLISHED, rows=False, face_detached=detached)), given(groups=1)
    x.requires_grad_()
    made(x, encoder_hidden_states=words)[0].sum().backward()  # the front's normals
    face = x.grad[VIEWS - 1].abs().max()
    assert (face == 0) if detached else (face > 0)
    assert x.grad[0].abs().max() > 0 and x.grad[1].abs().max() == 0


def test_an_untrained_block_leaves_views_apart():
    torch.manual_seed(0)
    fresh, (x, words) = ViewBlock(D, HEADS, WORDS, replace(PUBLISHED, face_share=0.0)).double(), given(groups=1)
    other = x.clone()
    other[1] += 1
    torch.nn.init.zeros_(fresh.attn_mv.to_out[0].bias)
    with torch.no_grad():
        a, b = (fresh(t, encoder_hidden_states=words) for t in (x, other))
    assert torch.equal(a[2], b[2]) and not torch.allclose(a[1], b[1])


def test_what_has_no_place_is_refused():
    made, (x, words) = block(), given()
    for wrong, said in (
        (x[:-1], "15 pictures; expected two domains of groups of 4"), (x[:, :-1], "35 tokens are no square picture"),
        (x[:, :16], "4 tokens a side, in whose front"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            made(wrong, encoder_hidden_states=words[: len(wrong)])
    with pytest.raises(InputError, match="1 views"):
        ViewSwitches(views=1)
    with pytest.raises(InputError, match=r"face_share is 1\.5"):
        ViewSwitches(face_share=1.5)
    assert Attention(D, HEADS).to_k.weight.shape == (D, D)
