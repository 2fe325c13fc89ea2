"""A small transformer that predicts the next character."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Language(nn.Module):
    """Embeddings that are also the weights of the last layer, and layers of causal attention."""

    def __init__(self, num_classes: int, width: int = 32, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_classes, width)
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Map tokens (B, T), and which of them are none (B, T), to logits (B, T, C)."""
        count = input_ids.shape[1]
        place = torch.arange(count, device=input_ids.device)
        causal = place[:, None] >= place
        seen = causal & (attention_mask > 0)[:, None, None, :]  # (B, 1, T, T)
        seen = seen | torch.eye(count, dtype=torch.bool, device=input_ids.device)
        hidden = self.tokens(input_ids) + self.places(place)
        for layer in self.layers:
            hidden = layer(hidden, seen)
        return {"logits": self.head(self.norm(hidden))}


class Layer(nn.Module):
    """Attention of four heads and two linear layers, each beside a way around it."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attended, self.gathered = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Map (B, T, width) to the same shape; `seen` says which tokens see which."""
        parts = self.attended(self.first(hidden)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        hidden = hidden + self.gathered(found.transpose(1, 2).flatten(2))
        return hidden + self.inner(self.second(hidden))
