"""What our NT-Xent is timed beside: torch as people write it, the same compiled, and a Triton kernel of Inf-CL's shape.

Each maker takes z [rows, cols] and a temperature and returns a function without arguments: forward and backward, the gradient by z.
"""

import torch


def eager_loss(z, temperature):
    u = torch.nn.functional.normalize(z, dim=1)
    logits = u @ u.T / temperature
    rows = z.shape[0]
    own = torch.arange(rows, device=z.device)
    logits = logits.masked_fill(own[:, None] == own[None, :], float("-inf"))
    return torch.nn.functional.cross_entropy(logits.float(), (own + rows // 2) % rows)


def autograd_step(loss_of, z, temperature, autocast):
    leaf = z.detach().clone().requires_grad_()

    def step():
        with torch.autocast(z.device.type, torch.bfloat16, enabled=autocast):
            loss = loss_of(leaf, temperature)
        return torch.autograd.grad(loss, leaf)[0]

    return step


def eager_bfloat16(z, temperature):
    return autograd_step(eager_loss, z, temperature, True)


def eager_float32(z, temperature):
    return autograd_step(eager_loss, z, temperature, False)


def compiled_bfloat16(z, temperature):
    return autograd_step(torch.compile(eager_loss, dynamic=False), z, temperature, True)


def inf_cl_shape(z, temperature):
    from inf_cl_triton import nt_xent_step  # triton comes with torch on Linux, but need not be there

    return nt_xent_step(z, temperature)


PEERS = {
    "torch eager bfloat16": eager_bfloat16,
    "torch eager float32": eager_float32,
    "torch.compile bfloat16": compiled_bfloat16,
    "Triton, Inf-CL's shape": inf_cl_shape,
}
