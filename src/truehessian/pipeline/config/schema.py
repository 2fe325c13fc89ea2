"""The JSON schema of configurations, by which an editor completes keys and marks mistakes."""

import json

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from truehessian.pipeline.config.configuration import Configuration


class _WithoutTitles(GenerateJsonSchema):
    """Titles of keys would only repeat the keys."""

    def field_title_should_be_set(self, schema: CoreSchema | object) -> bool:
        return False


def text() -> str:
    """Write the schema as JSON.

    It knows what a section may hold, but not what is impossible beside another; see `checks.check`.
    """
    schema = Configuration.model_json_schema(schema_generator=_WithoutTitles)
    dialect = {"$schema": GenerateJsonSchema.schema_dialect}
    return json.dumps({**dialect, **schema}, indent=2) + "\n"
