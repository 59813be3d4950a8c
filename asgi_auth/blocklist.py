"""Which passwords are too common: a folded password in, a yes or no out.

Lists of leaked passwords hold hardly any of fifteen characters. What people do when they are asked for fifteen is to
stretch a short one, so the list is grown from the short ones by the ways in which that is done: said twice, followed by
a run of digits, one after another, along the keyboard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from itertools import product

_COMMONEST = """
password passw0rd p@ssword p@ssw0rd passwort qwerty qwertyuiop qwertz azerty iloveyou letmein welcome welcome1 admin
administrator login monkey dragon sunshine princess football baseball superman batman master shadow michael jennifer
trustno1 changeme secret test testing guest default root access abc123 whatever starwars computer internet freedom
"""

_COMMON = """
ashley bailey jordan thomas robert daniel andrew joshua matthew anthony william charlie jessica michelle nicole amanda
samantha elizabeth victoria alexander benjamin christopher jonathan nicholas patrick richard george hunter ranger
buster soccer hockey killer harley pepper ginger maggie cookie summer winter spring autumn monday friday sunday january
february march april june july august september october november december london paris berlin madrid moscow america
england ireland scotland australia canada germany france spain italy russia china india mexico brazil liverpool arsenal
chelsea barcelona realmadrid manchester yankees cowboys lakers eagles steelers chicago dallas boston newyork california
texas florida hello hellohello goodbye goodluck forever together lovely loveme lover mylove iloveu ihateyou fuckyou
fuckoff asshole bullshit pussy biteme nothing something anything everything nobody somebody mother father brother
sister family friends friend bestfriend babygirl babyboy sweetheart sweetie honey angel heaven jesus jesuschrist
godisgood blessed believe faith hope peace love money dollar million business company office manager security system
server database oracle cisco windows microsoft google facebook twitter instagram youtube amazon netflix apple samsung
nintendo playstation pokemon pikachu minecraft fortnite naruto onepiece matrix gandalf frodo hobbit hogwarts
harrypotter voldemort skywalker darthvader starwars startrek spiderman ironman wolverine deadpool hulk thor captain
batman1 joker harleyquinn snoopy mickey minnie donald garfield scooby tigger winnie butterfly flower rainbow chocolate
banana orange apple123 cherry strawberry pineapple cheese pizza coffee whiskey vodka tequila budweiser marlboro newport
mustang ferrari porsche mercedes corvette camaro yamaha kawasaki suzuki honda toyota nissan jaguar phoenix falcon
tiger lion panther wolf spider scorpion cobra viper turtle dolphin penguin elephant kitten kitty puppy doggy horses
guitar piano drummer music metallica nirvana slipknot blink182 greenday eminem beatles ladygaga rockstar rocknroll
thunder lightning storm hurricane diamond crystal silver golden purple yellow orange1 blue green black white
pa55word pass1234 password1 password12 password123 adminadmin rootroot user username usuario contrasena motdepasse
senha parola haslo wachtwoord losenord salasana temporary temp1234 demo example sample letmein1 opensesame abracadabra
supersecret topsecret mypassword newpassword thepassword nopassword iforgot remember
"""

_WALKS = """
1234567890 0123456789 abcdefghijklmnopqrstuvwxyz qwertyuiop asdfghjkl zxcvbnm qwertyuiopasdfghjklzxcvbnm
qwertzuiopasdfghjklyxcvbnm azertyuiopqsdfghjklmwxcvbn 1q2w3e4r5t6y7u8i9o0p q1w2e3r4t5y6u7i8o9p0
1qaz2wsx3edc4rfv5tgb6yhn7ujm qazwsxedcrfvtgbyhnujmikolp zaq1xsw2cde3vfr4bgt5nhy6mju7 !@#$%^&*()
aabbccddeeffgghhiijjkkll 112233445566778899 a1b2c3d4e5f6g7h8i9
"""

_TAILS = (
    *("1234567890123456"[:length] for length in range(1, 17)),
    *(digit * length for digit in "01" for length in range(2, 9)),
    *(str(year) for year in range(1990, 2036)),
    *("!", "!!", "!!!", "1!", "123!", "1234!", "12345!", "321", "54321", "987654321", "0987654321", "007", "69", "666"),
)
_LONGEST_RUN = 24
_SHORT_UNIT = 3
_BETWEEN = str.maketrans("", "", " -_.,")


def is_common(folded: str, extra: Collection[str] = ()) -> bool:
    """Whether a password (in casefold) is among the commonest, or is one of them over and over.

    Args:
        folded: the password in NFC and casefold. Spaces and hyphens between words change nothing.
        extra: further ones, in casefold.
    """
    for text in (folded, folded.translate(_BETWEEN)):
        unit = _unit(text)
        if len(unit) <= _SHORT_UNIT or not {text, unit}.isdisjoint(extra):
            return True
        if not {text, unit}.isdisjoint(common_passwords()):
            return True
    return False


@cache
def common_passwords() -> frozenset[str]:
    """The list, in casefold. The first question makes it, which takes some 50 ms."""
    return frozenset(_grown())


def _grown() -> Iterator[str]:
    commonest = _COMMONEST.split()
    words = commonest + _COMMON.split()
    for word in words:
        yield from (word * times for times in range(1, 5))
        yield from (word + tail for tail in _TAILS)
        yield from (tail + word for tail in ("1", "12", "123", "1234", "12345", "123456", "123456789", "1234567890"))
    yield from (first + second for first, second in product(commonest, words))
    for walk in _WALKS.split():
        for way in (walk, walk[::-1]):
            ring = way * (1 + 2 * _LONGEST_RUN // len(way))
            yield from (ring[start : start + n] for start in range(len(way)) for n in range(6, _LONGEST_RUN + 1))


def _unit(text: str) -> str:
    """The shortest piece whose repetition makes the text; the last one may be cut."""
    return next((text[:n] for n in range(1, len(text)) if text[n:] == text[:-n]), text)
