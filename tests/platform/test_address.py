"""When two addresses are one."""

from unicodedata import normalize

import pytest
from acme.users.v1.address import normalised
from hypothesis import given
from hypothesis import strategies as st

ADDRESSES = st.text().map(lambda text: f"{text}@example.org") | st.text() | st.emails()


@pytest.mark.parametrize(
    ("typed", "also"),
    [
        ("ada@example.org", "ADA@Example.ORG"),
        ("ada@münchen.de", "ada@xn--mnchen-3ya.de"),
        ("ada@münchen.de", "Ada@MÜNCHEN.DE"),
        ("ada@münchen.de", normalize("NFD", "ada@münchen.de")),
        ("ada@münchen.de", "ada@XN--MNCHEN-3YA.de"),
        ("zoë@example.org", normalize("NFD", "ZOË@example.org")),
        ("straße@example.org", "STRASSE@example.org"),
        ("ada@例え。jp", "ada@例え.jp"),
        ("ada@under_score.org", "ADA@UNDER_SCORE.ORG"),
        ("ada@bücher_.org", normalize("NFD", "ADA@BÜCHER_.ORG")),
    ],
)
def test_two_ways_to_type_an_address_are_one(typed, also):
    assert typed != also
    assert normalised(typed) == normalised(also)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@example.org", "ada@example.com"),
        ("ada@example.org", "ada+news@example.org"),
        ("ada@example.org", "a.da@example.org"),
        ("ada@faß.de", "ada@fass.de"),
        ("ada@аpple.com", "ada@apple.com"),
    ],
    ids=["domain", "suffix", "dot", "sharp s in a domain", "cyrillic a"],
)
def test_two_addresses_stay_two(one, other):
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Ada@Example.org", "ada@example.org"),
        ("ada@MÜNCHEN.de", "ada@xn--mnchen-3ya.de"),
        ('"a@B"@Example.org', '"a@b"@example.org'),
        ("Ada@" + "A" * 64 + ".org", "ada@" + "a" * 64 + ".org"),
        ("Ada", "ada"),
        ("Ada@", "ada@"),
        ("", ""),
    ],
)
def test_an_address_has_one_form_however_odd_it_is(typed, expected):
    assert normalised(typed) == expected


@given(ADDRESSES)
def test_the_form_of_the_form_is_the_form(email):
    assert normalised(normalised(email)) == normalised(email)


@given(ADDRESSES, st.sampled_from(["NFC", "NFD"]))
def test_how_characters_are_composed_makes_no_difference(email, form):
    assert normalised(normalize(form, email)) == normalised(email)
