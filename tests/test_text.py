"""Trimming, validating and folding text in linear time."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo_service.bounds.texts import COMBINING_MARKS, FOLDED_EXTRA, FOLDED_FACTOR, SEARCHED_WORD_LENGTH, SEARCHED_WORDS
from todo_service.text import check_marks, has_long_run_of_marks, normalize_lines, normalize_text
from todo_service.todos.words import extract_prefixes, extract_words, fold

MARKS = ["\u0300", "\u0316", "\u0345", "\u3099", "\U0001d165"]
DECOMPOSED_INTO_MARKS = ["\u0344", "\u0f73", "\u0f75", "\u0f81", "\uff9e", "\uff9f"]
INVISIBLE = frozenset(
    "\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200d\u200f\u202e\u2060\u2069\u2800\u3164\ufe0f\ufeff\uffa0\U0001d159\U000e0041"
)
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from([*MARKS, *DECOMPOSED_INTO_MARKS])))


def longest_run_of_marks(text: str) -> int:
    longest = run = 0
    for character in text:
        decomposed = unicodedata.normalize("NFKD", character)
        run = run + 1 if all(unicodedata.combining(part) for part in decomposed) else 0
        longest = max(longest, run)
    return longest


@given(TEXTS)
def test_folding_ignores_the_normalization_form_and_is_idempotent(text: str) -> None:
    folded = fold(text)

    assert len(folded) <= FOLDED_FACTOR * len(text) + FOLDED_EXTRA
    if len(unicodedata.normalize("NFKD", text.casefold())) <= len(text) + FOLDED_EXTRA:
        assert fold(unicodedata.normalize("NFC", text)) == folded
        assert fold(unicodedata.normalize("NFD", text)) == folded
        assert fold(folded) == folded


def test_every_character_folds_alike_in_all_normalization_forms() -> None:
    for code in (*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x11000), *range(0x1D000, 0x1F000)):
        text = f"a{chr(code)}b"
        folded = fold(text)
        forms = [unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text), folded]
        assert {fold(form) for form in forms} == {folded}, hex(code)


@given(st.text(st.sampled_from("a\u0301łЙ牛奶ーがก\u0e49ำहि\u094d😀 -")))
def test_a_text_is_found_by_itself(text: str) -> None:
    words = extract_words(text)

    for prefix in extract_prefixes(text):
        assert any(word.startswith(prefix) for word in words), prefix


@given(st.lists(st.sampled_from([*MARKS, *DECOMPOSED_INTO_MARKS, "a", "é", "漢", "。"]), max_size=80))
def test_long_runs_of_marks_are_recognized(characters: list[str]) -> None:
    text = "".join(characters)

    assert has_long_run_of_marks(text) is (longest_run_of_marks(text) > COMBINING_MARKS)


def test_every_character_that_decomposes_into_marks_counts_as_a_mark() -> None:
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        character = chr(code)
        if all(unicodedata.combining(part) for part in unicodedata.normalize("NFKD", character)):
            assert has_long_run_of_marks(character * (COMBINING_MARKS + 1)), hex(code)


@pytest.mark.parametrize("mark", [*MARKS, *DECOMPOSED_INTO_MARKS])
def test_thirty_marks_in_a_row_are_accepted_and_one_more_is_not(mark: str) -> None:
    check_marks("a" + mark * COMBINING_MARKS + "b" + mark * COMBINING_MARKS)

    with pytest.raises(ValueError, match="30 combining marks in a row"):
        check_marks("a" + mark * (COMBINING_MARKS + 1))


def test_scripts_with_many_marks_are_accepted() -> None:
    for text in (
        "नमस्ते दुनिया " * 20,
        "שָׁלוֹם עֲלֵיכֶם " * 20,
        "ٱلسَّلَامُ عَلَيْكُمْ " * 20,
        "việt nam " * 20,
        "👩‍👩‍👧" * 40,
        "。" * 200,
    ):
        check_marks(text)


def test_length_is_validated_after_trimming_and_composition() -> None:
    assert normalize_text(" \t\u2003abc\n", 3) == "abc"
    assert normalize_text("  ", 3, shortest=0) == ""
    assert normalize_text("e\u0301" * 3, 3) == "\u00e9" * 3
    for text in ("abcd", "  ", "\u0958\u0958"):  # a composition exclusion: two characters in NFC
        with pytest.raises(ValueError, match="1 to 3 characters after trimming"):
            normalize_text(text, 3)
    with pytest.raises(ValueError, match="at most 3 characters after trimming"):
        normalize_text("abcd", 3, shortest=0)


@given(TEXTS)
def test_normalizing_twice_changes_nothing(text: str) -> None:
    try:
        normalized = normalize_text(text, len(text) * 3, shortest=0)
    except ValueError:
        return
    assert unicodedata.is_normalized("NFC", normalized)
    assert normalize_text(normalized, len(normalized), shortest=0) == normalized
    assert normalize_text(unicodedata.normalize("NFD", normalized), len(normalized), shortest=0) == normalized


@pytest.mark.parametrize(
    "text",
    [
        "❤\ufe0f",
        "👩\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u0645\u06cc\u200c\u062e",
        "\u05d0\u200f",
    ],
)
def test_invisible_characters_with_a_meaning_are_kept(text: str) -> None:
    assert normalize_text(f" {text}\ufeff\u200b\n", 20) == text


def test_text_without_a_visible_character_is_rejected() -> None:
    """Format characters that start a number, such as U+0600, are visible; so are unassigned characters."""
    for code in (*range(0x20, 0x7F), *range(0xA0, 0xD800), *range(0xE000, 0x110000)):
        character = chr(code)
        if unicodedata.category(character) in ("Zs", "Zl", "Zp") or character in INVISIBLE:
            for shortest in (0, 1):
                if shortest or not character.isspace():
                    with pytest.raises(ValueError, match=r"visible character|1 to 9 characters"):
                        normalize_text(character * 3, 9, shortest=shortest)
            if character.isspace():
                assert normalize_lines(character * 3, 9) == character * 3
            else:
                with pytest.raises(ValueError, match="visible character"):
                    normalize_lines(f" {character}\n{character}", 9)
        elif unicodedata.category(character)[0] in "LNPS":
            assert normalize_text(character, 9)


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_control_characters_within_a_text_are_rejected(code: int) -> None:
    with pytest.raises(ValueError, match=rf"without the control character U\+{code:04X}$"):
        normalize_text(f"a{chr(code)}b", 9)
    if chr(code) in "\n\t":
        assert normalize_lines(f"a{chr(code)}b", 9) == f"a{chr(code)}b"
    else:
        with pytest.raises(ValueError, match=rf"without the control character U\+{code:04X}$"):
            normalize_lines(f"a{chr(code)}b", 9)


def test_line_endings_are_converted_before_the_length_is_measured() -> None:
    assert normalize_lines("\r\n" * 9, 9) == "\n" * 9
    with pytest.raises(ValueError, match="at most 9 characters"):
        normalize_lines("\r\n" * 10, 9)


def test_a_ligature_is_decomposed_within_bounds() -> None:
    assert fold("\ufdfa") == "صلى الله عليه وسلم"
    assert len(fold("\ufdfa" * 10_000)) == FOLDED_FACTOR * 10_000 + FOLDED_EXTRA


def test_the_words_of_a_todo_are_bounded_in_number_and_length() -> None:
    words = extract_words(" ".join(f"word{number}" for number in range(5000)), "x" * 5000)

    assert words == [f"word{number}" for number in range(SEARCHED_WORDS)]
    assert extract_words("x" * 5000) == ["x" * SEARCHED_WORD_LENGTH]
    assert extract_words("Łódź Straße", "straße") == ["lodz", "strasse"]
