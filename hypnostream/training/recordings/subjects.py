"""One name a person, whatever set a recording of them is in: "SET:THEIR NAME IN IT".

Splits keep a name on one side, so two recordings of one person must come out of here with the same name.
"""

import re

# Who is in two sets, or in two files of one, and would else have two names.
SAME_PERSON = {
    "santafe:slp60": "slpdb:slp60",  # Santa Fe's data set B is the patient of slp60
    "snippets:sleepedf_5min": "sleepedf:SC00",  # five minutes of SC4001E0: its date, hour, sex and age
}
_SLEEP_EDF = re.compile(r"(SC|ST)[47](\d\d)\d")
_SLPDB = re.compile(r"(slp\d\d)[ab]?")


def person(set_name: str, own: str) -> str:
    """The name across sets of the person whom the set calls `own`; `set_name` is short and lower-case."""
    name = f"{set_name}:{own}"
    return SAME_PERSON.get(name, name)


def sleep_edf_person(record: str) -> str:
    """Of a Sleep-EDF Expanded record: "SC4012E0" and "SC4011E0-PSG" are nights of "sleepedf:SC01".

    Raises ValueError when it is not named so.
    """
    found = _SLEEP_EDF.match(record)
    if found is None:
        raise ValueError(f"{record!r} is not named as Sleep-EDF names its records (SC4ssN.., ST7ssN..)")
    return person("sleepedf", found[1] + found[2])


def slpdb_person(record: str) -> str:
    """Of a record of the MIT-BIH Polysomnographic Database: "slp01a" and "slp01b" are one night of "slpdb:slp01"."""
    found = _SLPDB.fullmatch(record)
    return person("slpdb", found[1] if found else record)
