"""The object token: the MLP that makes a word of the prompt from an object's image embedding (fact 16)."""

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class ObjectTokenMLP(ModelMixin, ConfigMixin):
    """B×E image embeddings → B×D tokens, as the U-Net's cross-attention reads them.

    An MLP E → D → D, a residual MLP at D, and a last LayerNorm; each MLP begins with a LayerNorm and has
    one GELU. The paper's sizes: E = 768, D = 2048.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 768, token_dim: int = 2048) -> None:
        """Build it untrained.

        Args:
            embedding_dim: E, of the image encoder's projection.
            token_dim: D, of the text encoders' tokens.
        """
        super().__init__()
        self.project = _mlp(embedding_dim, token_dim)
        self.refine = _mlp(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """B×E → B×D."""
        token = self.project(embedding)
        return self.norm(token + self.refine(token))


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out), nn.GELU(), nn.Linear(out, out))
