"""Searches and the order of titles in many languages."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person
from todo_service.bounds.texts import SEARCHED_WORDS, UNSPACED_WORD_LENGTH
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


class Case(NamedTuple):
    """A title with searches that find it, and searches that do not."""

    language: str
    title: str
    found_by: tuple[str, ...]
    not_found_by: tuple[str, ...] = ()


CASES = (
    Case("English", "Æther, naïve cafés and encyclopædias", ("aether", "NAIVE", "cafe", "encyclopaedia"), ("ether",)),
    Case("English", "Read O’Brien’s book", ("brien", "o'brien"), ("rien",)),
    Case("Polish", "Łódź i żółw", ("lodz", "ŁÓDŹ", "zolw", "zolw lodz"), ("odz", "zolwi")),
    Case("German", "Straße fegen, Größe prüfen", ("strasse", "STRASSE", "straße", "grosse", "pruf"), ("rasse",)),
    Case("Danish", "Rødgrød på Ærø", ("rodgrod", "RØDGRØD", "aero", "pa"), ("grod",)),
    Case("Swedish", "Köp blåbär åt Örjan", ("blabar", "ORJAN", "kop at"), ("bar",)),
    Case("Icelandic", "Þórður kemur á föstudag", ("thordur", "þórður", "ÞÓRÐUR", "fostudag"), ("ordur",)),
    Case("French", "Œufs, cœur et l’été à Noël", ("oeufs", "COEUR", "œuf", "ete", "noel"), ("ufs",)),
    Case("Turkish", "Iğdır’da ışık, İzmir’de DİYARBAKIR", ("igdir", "isik", "ışık", "izmir", "diyarbakır"), ("zmir",)),
    Case("Croatian", "Đakovo i čevapčići", ("dakovo", "đakovo", "ĐAK", "cevapcici"), ("akovo",)),
    Case("Maltese", "Ħobż u għasel", ("hobz", "ħobż", "ghasel"), ("obz",)),
    Case("Vietnamese", "Đường phố Việt Nam", ("duong", "ĐƯỜNG", "viet nam", "pho"), ("uong",)),
    Case("Greek", "Άγιος Νικόλαος", ("αγιος", "ΝΙΚΟΛΑΟΣ", "νικόλαοσ"), ("ικολαος",)),
    Case("Russian", "Ёлка и мой йод", ("елка", "ЁЛКА", "мой", "йод"), ("мои", "иод", "лка")),
    Case("Ukrainian", "Їжак у Києві", ("їжак", "ЇЖАК", "києв"), ("жак",)),
    Case("Arabic", "السَّلَامُ عَلَيْكُمْ يا أحمد كتـــاب", ("السلام", "عليكم", "احمد", "كتاب"), ("سلام", "تاب")),
    Case("Persian", "می‌خواهم ۱۲ تخم‌مرغ", ("میخواهم", "می‌خواهم", "12", "۱۲", "تخم"), ("خواهم", "2")),
    Case("Hebrew", "שָׁלוֹם עֲלֵיכֶם", ("שלום", "עליכם", "שָׁלוֹם"), ("לום",)),
    Case("Hindi", "स्कूल की किताब", ("स्कूल", "किताब", "कि", "किताब स्कूल"), ("सकूल", "कताब", "कूल", "काताब")),
    Case("Hindi", "बच्चा कल पढ़ता है", ("बच्चा", "कल", "पढ़ता"), ("बच्ची", "काल", "चा")),
    Case("Bengali", "বাংলা শিখুন", ("বাংলা", "শিখুন"), ("বংলা", "ংলা")),
    Case("Tamil", "தமிழ் படி", ("தமிழ்", "படி"), ("தமழ்", "பாடி")),
    Case("Thai", "ซื้อข้าวและน้ำแข็ง", ("ข้าว", "น้ำ", "น้ำแข็ง", "แข็ง", "ซื้อข้าวและน้ำแข็ง"), ("ขาว", "ข้าวน้ำ")),
    Case("Lao", "ຊື້ນ້ຳນົມ", ("ນົມ", "ນ້ຳ", "ຊື້"), ("ນາມ",)),
    Case("Khmer", "ទិញទឹកដោះគោ", ("ទឹក", "គោ", "ទិញទឹក"), ("ទិក",)),
    Case("Burmese", "နို့ဝယ်ရန်", ("ဝယ်", "နို့", "ရန်"), ("ဝါယ်",)),
    Case(
        "Chinese", "買牛奶和麵包", ("牛奶", "牛", "包", "麵包", "買牛奶和麵包", "麵包 牛奶"), ("奶牛", "牛麵", "牛包")
    ),
    Case("Chinese", "奶茶配牛肉", ("牛肉", "茶配牛"), ("牛奶", "奶牛")),
    Case(
        "Chinese",
        "明天上午十點在公司三樓開會討論預算",
        ("公司三樓", "明天上午十點在公司三樓開會", "預算"),
        ("預算討論",),
    ),
    Case("Japanese", "東京タワーへ行く", ("タワー", "ﾀﾜｰ", "行く", "京", "東京タワーへ行く"), ("ダワー", "東タワー")),
    Case("Japanese", "がっこうのかぎ", ("がっこう", "かぎ", "がっこうのかぎ"), ("かっこう", "かき")),
    Case("Korean", "회의실 예약", ("회의", "예약 회의실"), ("의실", "회이")),
    Case(
        "several", "iPhone充電とUSB-Cケーブル３本", ("iphone", "IPHONE充電", "充電", "usb", "ケーブル", "3"), ("phone",)
    ),
    Case("no word", "Buy milk 🎉 — now!", ("milk",), ("", " ", "🎉", "—", "!?", "\u0301", "\u200b", "☑️")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}: {case.title}")
async def test_a_search_finds_words_as_people_write_them(ada: Person, case: Case) -> None:
    await ada.todo(title="Other", steps=[{"title": case.title}])
    await ada.todo(title=case.title)

    for q in case.found_by:
        for form in ("NFC", "NFD"):
            assert sorted(await ada.titles(q=unicodedata.normalize(form, q))) == sorted(["Other", case.title]), q
    for q in case.not_found_by:
        assert await ada.titles(q=q) == [], q


ORDERS = {
    "English": ["- dash", "“Quoted”", "(draft)", "1 apple", "2 apples", "10 apples", "apple", "Apple pie", "zebra"],
    "numbers": ["Room 99", "Room 101", "Task", "task 1", "Task 2", "Task 2b", "Task ٣", "Task 10", "v1.9", "v1.10"],
    "accents": ["cafe", "café", "Café", "cafeteria", "eclair", "Éclair", "eclairs"],
    "Polish": ["lato", "ławka", "Ławka", "Lodz", "Łódź", "Lublin", "Mazury", "Żaba", "zebra", "źrebię"],
    "German": ["Apfel", "Äpfel", "Arzt", "Ofen", "Öl", "Strand", "Strasse", "Straße", "Zug"],
    "French": ["cote", "coté", "côte", "côté", "etage", "été", "Œuf", "oeuvre", "ouf"],
    "Swedish": ["Ål", "ala", "Älg", "elva", "oga", "Öga", "zon"],
    "Danish": ["Ærø", "aften", "Århus", "øl", "ost", "zebra"],
    "Turkish": ["Iğdır", "ilk", "İzmir", "ılık", "ırmak", "jilet"],
    "Vietnamese": ["an", "ăn", "ân", "bà", "Da Lat", "Đà Nẵng", "Dong", "Em"],
    "Greek": ["Αλφα", "άλφα", "βήτα", "γάμμα", "ψι", "Ωμέγα"],
    "Russian": ["Ёж", "ежик", "Елка", "ёлка", "Жук", "игра", "Икра", "йод", "кот"],
    "Ukrainian": ["ґанок", "гора", "дім", "єнот", "жук", "Иній", "їжак", "ікра", "йод", "я"],
    "Serbian": ["Дом", "ђак", "лав", "љубав", "нос", "њива", "торта", "Ћирилица", "учитељ", "џак", "шума"],
    "Arabic": ["اب", "بيت", "تفاح", "ثوب", "جمل"],
    "Persian": ["آب", "بابا", "پدر", "تهران", "جان", "چای", "ژاله", "کتاب", "گل", "یخ"],
    "Hebrew": ["אבא", "בית", "גמל", "דג", "מלך", "שלום", "תפוח"],
    "Hindi": ["अनार", "आम", "कमल", "काम", "किताब", "कुत्ता", "खाना", "गाय"],
    "Thai": ["กา", "เกม", "ไก่", "ขนม", "นม", "มา", "แมว", "โมง"],
    "Japanese": ["あさ", "アサ", "いぬ", "かき", "カキ", "かぎ", "さくら", "ざる", "ねこ", "はし", "ばし"],
    "Korean": ["가방", "각", "강", "나무", "다리", "하늘"],
    "scripts": [
        "#tag",
        "🎉",
        "1",
        "apple",
        "μήλο",
        "яблоко",
        "תפוח",
        "تفاحة",
        "सेब",
        "แอปเปิล",
        "사과",
        "りんご",
        "苹果",
    ],
}


@pytest.mark.parametrize("language", ORDERS)
async def test_titles_are_sorted_as_people_sort_them(ada: Person, language: str) -> None:
    expected = ORDERS[language]
    for title in sorted(expected, key=lambda title: title[::-1]):
        await ada.todo(title=title)

    assert await ada.titles(sort="title") == expected
    assert await ada.titles(sort="-title") == expected[::-1]
    assert await list_pages(ada, sort="title", limit=2) == expected
    assert await list_pages(ada, sort="-title", limit=3) == expected[::-1]


async def test_titles_with_equal_keys_are_paginated(ada: Person) -> None:
    """Keys ignore joiners, and are truncated."""
    titles = ["x" * 150 + end for end in ("", "\u200d", "a", "b")] + ["﷽﷽﷽" + "漢" * 150 + end for end in "abc"]
    for title in titles:
        await ada.todo(title=title)

    assert sorted(await list_pages(ada, sort="title", limit=1)) == sorted(titles)
    assert await list_pages(ada, sort="-title", limit=2) == (await ada.titles(sort="title"))[::-1]


async def test_titles_with_keys_of_an_earlier_version_are_paginated(ada: Person, app: Litestar) -> None:
    titles = ["apple", "Äpfel", "Łódź", "zebra", "яблоко", "苹果"]
    for title in titles:
        todo = await ada.todo(title=title)
        if title != "zebra":
            older = {"title_key": title.casefold()}
            await app.state.store.update(Todo, Todo.id == ObjectId(todo["id"]), changes=older)

    for sort in ("title", "-title"):
        assert sorted(await list_pages(ada, sort=sort, limit=1)) == sorted(titles)
        assert sorted(await list_pages(ada, sort=sort, limit=4)) == sorted(titles)


async def test_a_long_search_in_a_script_without_spaces_matches_in_order(ada: Person) -> None:
    sentence = "明天上午十點在公司三樓的會議室討論下一季的預算"
    await ada.todo(title=sentence)

    for start in range(len(sentence)):
        assert await ada.titles(q=sentence[start:]) == [sentence]
    assert await ada.titles(q=sentence[8:16] + sentence[:8]) == []
    assert await ada.titles(q=sentence * 8 + "牛") == []


async def test_a_text_without_spaces_is_searchable_up_to_the_limit_of_words(ada: Person) -> None:
    text = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 10_000))
    await ada.todo(title="x", description=text)

    assert await ada.titles(q=text[SEARCHED_WORDS - UNSPACED_WORD_LENGTH : SEARCHED_WORDS]) == ["x"]
    assert await ada.titles(q=text[SEARCHED_WORDS + UNSPACED_WORD_LENGTH :][:UNSPACED_WORD_LENGTH]) == []


async def list_pages(person: Person, **params: Any) -> list[str]:
    """Return the titles of all pages of a list."""
    titles: list[str] = []
    page = (await person.get("/v1/todos", params=params)).json()
    while True:
        titles += [item["title"] for item in page["items"]]
        if page["next_cursor"] is None:
            return titles
        page = (await person.get("/v1/todos", params=params | {"cursor": page["next_cursor"]})).json()
