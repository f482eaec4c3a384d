"""HypoNet's equations in NumPy, one sample and one head at a time, from a state dict alone."""

import math

import numpy as np

from hmralign.models.paper.joint_graph import hidden_tokens, input_masks


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def masked(state, name, x, near):
    """The linear layer `name` with one block per pair of tokens."""
    weight = state[f"{name}.weight"]
    rows, columns = weight.shape[0] // len(near), weight.shape[1] // len(near)
    weight = weight * np.kron(near, np.ones((rows, columns)))
    return weight @ x + state[f"{name}.bias"]


def group_norm(state, name, x, groups=32):
    parts = x.reshape(groups, -1)
    parts = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + 1e-5)
    return parts.reshape(-1) * state[f"{name}.weight"] + state[f"{name}.bias"]


def layer_norm(state, name, x):
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def swish(x):
    return x / (1 + np.exp(-x))


def sinusoid(at, channels):
    half = channels // 2
    phase = at * np.exp(-math.log(10000) * np.arange(half) / (half - 1))
    return np.concatenate([np.sin(phase), np.cos(phase)])


def cell_sinusoid(side, channels):
    table = np.zeros((side, side, channels))
    half = channels // 2
    for row in range(side):
        for column in range(side):
            for k in range(half // 2):
                rate = 10000 ** (-2 * k / half)
                table[row, column, 2 * k : 2 * k + 2] = math.sin(column * rate), math.cos(column * rate)
                table[row, column, half + 2 * k : half + 2 * k + 2] = math.sin(row * rate), math.cos(row * rate)
    return table.reshape(side * side, channels)


def attention(state, name, q, k, v, heads, seen=None):
    weight, bias = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
    width = q.shape[1]
    q, k, v = (
        x @ weight[n * width : (n + 1) * width].T + bias[n * width : (n + 1) * width] for n, x in enumerate((q, k, v))
    )
    out = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        logits = q[:, part] @ k[:, part].T / math.sqrt(width // heads)
        if seen is not None:
            logits[~seen] = -np.inf
        share = np.exp(logits - logits.max(1, keepdims=True))
        out[:, part] = share / share.sum(1, keepdims=True) @ v[:, part]
    return linear(state, f"{name}.out_proj", out)


def block(state, name, x, cells, places, cell_places, heads, seen):
    normed = layer_norm(state, f"{name}.norm1", x)
    placed = normed + places
    x = x + attention(state, f"{name}.self_attn", placed, placed, normed, heads, seen)
    asked = layer_norm(state, f"{name}.norm2", x) + places
    x = x + attention(state, f"{name}.multihead_attn", asked, cells + cell_places, cells, heads)
    hidden = np.maximum(linear(state, f"{name}.linear1", layer_norm(state, f"{name}.norm3", x)), 0)
    return x + linear(state, f"{name}.linear2", hidden)


def eps(model, x_t, t, global_tokens, local):
    """One sample (133), its time, and its person's context; all NumPy, float64."""
    config = model.config
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    near_j, near_t = (near.numpy() for near in input_masks())
    joints = leaky(group_norm(state, "bn_start_j", masked(state, "linear_start_j", x_t[:87], near_j))).reshape(29, -1)
    twists = leaky(group_norm(state, "bn_start_t", masked(state, "linear_start_t", x_t[87:], near_t))).reshape(23, -1)
    x = np.concatenate([np.concatenate([joints, twists]), local], axis=1)
    time = sinusoid(t, config.time_channels)
    for layer in ("temb_dense.0", "temb_dense.1"):
        time = swish(linear(state, layer, time))
    x = x + time
    places = np.stack([sinusoid(token, config.width) for token in range(52)])
    cell_places = cell_sinusoid(config.context_side, config.width)
    seen = ~hidden_tokens(config.hops, twists=True).numpy()
    for number in range(len(config.hops)):
        x = block(state, f"blocks.{number}", x, global_tokens, places, cell_places, config.heads, seen[number])
    joints = masked(state, "linear_final_j", x[:29].reshape(-1), near_j)
    twists = masked(state, "linear_final_t", x[29:].reshape(-1), near_t)
    return x_t + np.concatenate([joints, twists])
