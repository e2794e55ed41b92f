"""The starter schema: what columns with everyday names hold. Inference prefers these types where the values fit.

Imports the model only.
"""

from __future__ import annotations

import re

from segidx.model.schema import FieldType

STARTER: dict[str, FieldType] = {
    "email": FieldType.TEXT,
    "phone": FieldType.TEXT,
    "name": FieldType.TEXT,
    "first_name": FieldType.TEXT,
    "last_name": FieldType.TEXT,
    "birth_date": FieldType.DATE,
    "age": FieldType.NUMBER,
    "company": FieldType.TEXT,
    "job": FieldType.TEXT,
    "city": FieldType.CATEGORY,
    "country": FieldType.CATEGORY,
    "consent": FieldType.BOOL,
    "lead_stage": FieldType.CATEGORY,
    "opportunity_stage": FieldType.CATEGORY,
    "sales_rep": FieldType.CATEGORY,
    "acquisition_source": FieldType.CATEGORY,
}

_ALIASES = {
    "e_mail": "email",
    "email_address": "email",
    "phone_number": "phone",
    "mobile": "phone",
    "full_name": "name",
    "birthday": "birth_date",
    "birthdate": "birth_date",
    "date_of_birth": "birth_date",
    "dob": "birth_date",
    "job_title": "job",
    "country_code": "country",
}


def starter_type(column: str) -> FieldType | None:
    """The type that the starter schema gives a column of this name (in any case, with '-', '_' or spaces)."""
    plain = re.sub(r"[\s_-]+", "_", column.strip().casefold())
    return STARTER.get(_ALIASES.get(plain, plain))
