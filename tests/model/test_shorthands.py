"""One word in a filter of visits or orders, for where it came from."""

import pytest

from segidx.model.errors import ExpressionTooLarge, InvalidExpression
from segidx.model.expression import And, Did, Expression, Not, Only, Or, events, field, orders, shorthand, shorthands_of
from segidx.model.syntax import format_expression, parse

SEARCH = 'source in ("paid_search", "organic_search")'
UTM = " or ".join(f"utm_{each} is set" for each in ("source", "medium", "campaign", "term", "content"))
MEANT = {
    "utm": UTM,
    "search": SEARCH,
    "advert": "paid = true",
    "referral": 'source = "referral"',
    "email": 'source = "email"',
    "direct": 'source = "direct"',
}


def where_of(text: str) -> Expression | None:
    node = parse(text)
    assert isinstance(node, Did)
    return node.events.where


@pytest.mark.parametrize(("word", "meant"), MEANT.items())
def test_a_word_of_visits(word: str, meant: str) -> None:
    assert where_of(f"did(visit where {word})") == where_of(f"did(visit where {meant})") == shorthand(word)
    assert format_expression(parse(f"did(visit where {word})")) == f"did(visit where {meant})"
    assert format_expression(parse(f"did(visit where not {word})")) == format_expression(
        parse(f"did(visit where not ({meant}))")
    )


@pytest.mark.parametrize("word", sorted(MEANT.keys() - {"utm"}))
def test_a_word_of_orders(word: str) -> None:
    assert where_of(f"did(ORDER where {word} during last 3 days)") == shorthand(word, "order") == shorthand(word)


def test_among_other_conditions() -> None:
    found = where_of('did(visit where advert and url like "/x/**" and not (email or `direct`))')
    assert isinstance(found, And)
    assert found.operands[0] == shorthand("advert")
    assert found.operands[2] == Not(Or((shorthand("email"), shorthand("direct"))))
    listed = where_of("did(visit where at least 2 of (utm, search, dwell > 3))")
    assert listed == where_of(f"did(visit where at least 2 of ({UTM}, {SEARCH}, dwell > 3))")


def test_in_only() -> None:
    assert parse("only(order where advert among not direct)") == Only(
        orders().where(Not(shorthand("direct"))).events, shorthand("advert")
    )


def test_they_are_words_of_these_filters_alone() -> None:
    paid = shorthand("email")
    text = "email and (did(visit where email) or email) and only(order where email) and search"
    assert parse(text) == And(
        (
            field("email") == True,  # noqa: E712
            Or((events("visit").where(paid).did(), field("email") == True)),  # noqa: E712
            orders().only(paid),
            field("search") == True,  # noqa: E712
        )
    )
    for type in ("cart", "line", "webinar"):  # a property of that name, if there is one
        assert where_of(f"did({type} where email)") == (field("email") == True)  # noqa: E712
    assert where_of("did(order where utm)") == (field("utm") == True)  # noqa: E712
    assert where_of('did(visit where email = "x")') == (field("email") == "x")


def test_a_word_behind_one_that_was_refused() -> None:
    with pytest.raises(Exception, match="has no place in a filter"):
        parse("did(visit where age(birthday) > 3)")
    assert parse("email and search") == And((field("email") == True, field("search") == True))  # noqa: E712


def test_they_count_as_what_they_stand_for() -> None:
    assert parse("did(visit where utm)", max_nodes=7) == events("visit").where(shorthand("utm")).did()
    with pytest.raises(ExpressionTooLarge):
        parse("did(visit where utm)", max_nodes=6)
    assert parse("did(visit where search)", max_nodes=3) == events("visit").where(shorthand("search")).did()
    with pytest.raises(ExpressionTooLarge):
        parse("did(visit where search)", max_nodes=2)


def test_words_that_stand_for_nothing() -> None:
    assert shorthands_of("line") == ()
    assert shorthands_of("order") == ("referral", "search", "advert", "email", "direct")
    with pytest.raises(InvalidExpression, match="'utm' is no shorthand in filters of 'order' events"):
        shorthand("utm", "order")


def test_in_what_has_asks_and_in_steps() -> None:
    for text, meant in (
        ("first(order) has email", 'first(order) has source = "email"'),
        (
            "last(visit where not direct) has (utm or advert)",
            f'last(visit where not source = "direct") has (({UTM}) or paid)',
        ),
        (
            "sequence(visit where search then order where email)",
            f'sequence(visit where {SEARCH} then order where source = "email")',
        ),
    ):
        for rest in ("", " and email"):  # a field of the contact
            assert parse(text + rest) == parse(meant + rest)
            assert parse(f"days_since(last(order)) > 3 and ({text}) and email") == parse(
                f"days_since(last(order)) > 3 and ({meant}) and email = true"
            )
