"""What every part of a ``Switchboard``'s specification and status is made of."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.alias_generators import to_camel

Quantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$")]
)
"""As Kubernetes writes amounts: ``2``, ``0.5``, ``500m``, ``512Mi``."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]


def cel(rule: str, message: str, field_path: str | None = None) -> dict[str, str]:
    """One CEL rule of the CRD."""
    found = {"rule": rule, "message": message}
    return found | {"fieldPath": field_path} if field_path else found


def rules(*items: dict[str, str]) -> dict[str, Any]:
    """CEL rules for the schema of a model or field."""
    return {"x-kubernetes-validations": list(items)}


RECORDED = "recorded"
"""Context for reading what was valid once: limits, words and rules are for what is written now."""


class Part(BaseModel):
    """Base of every part: camelCase outside, unknown fields ignored (a newer API server may hold them)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def dump(self) -> dict[str, Any]:
        """As it stands in a resource."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecPart(Part):
    """Base of every part of a specification, of a recorded one too."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _as_recorded(cls, value: object, parse: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        try:
            return parse(value)
        except ValidationError as error:
            if info.context == RECORDED and not any(item["type"] == "missing" for item in error.errors()):
                return value
            raise


class SecretKeyRef(SpecPart):
    """One key of a Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: str = Field(min_length=1, max_length=253, description="Key in the Secret.")


class SecretRef(SpecPart):
    """A Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
