"""How evenly the variance of a layer is spread over its directions: quantities of the spectrum of a covariance.

With eigenvalues sorted downwards, p is each one's share in their sum and c_k = p_1 + ... + p_k, as in NerVE
(arXiv:2603.06922).
"""

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float


def shares(eigenvalues: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    """p, the share of each eigenvalue in their sum; nan if all are zero."""
    return eigenvalues / eigenvalues.sum(axis=-1, keepdims=True)


def spectral_entropy(p: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """-sum p ln p, in nats: 0 for a single direction, ln D if all are equal."""
    return -xlogy(p, p).sum(axis=-1)


def participation_ratio(p: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """(sum of eigenvalues)^2 / sum of squares: 1 for a single direction, D if all are equal."""
    return 1 / jnp.square(p).sum(axis=-1)


def early_enrichment(p: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """(2 / D) sum_k (c_k - k / D), of p sorted downwards: 0 if all are equal, 1 - 1 / D for a single direction."""
    size = p.shape[-1]
    uniform = jnp.broadcast_to(jnp.arange(1, size + 1) / size, p.shape)
    return 2 * (jnp.cumsum(p, axis=-1) - uniform).mean(axis=-1)


def jensen_shannon(p: Float[Array, "*batch D"], q: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """The Jensen-Shannon divergence of two sorted spectra, in nats: 0 if they are equal, at most ln 2."""
    return spectral_entropy((p + q) / 2) - (spectral_entropy(p) + spectral_entropy(q)) / 2


def quantities(before: Float[Array, "*batch D"], after: Float[Array, "*batch D"]) -> dict[str, Float[Array, "*batch"]]:
    """All of them, of the eigenvalues before and after an activation."""
    p, q = shares(before), shares(after)
    each = {
        "spectral_entropy": spectral_entropy,
        "participation_ratio": participation_ratio,
        "early_enrichment": early_enrichment,
    }
    found = {f"{name}_{when}": of(x) for name, of in each.items() for when, x in (("before", p), ("after", q))}
    return {**found, "jensen_shannon": jensen_shannon(p, q)}
