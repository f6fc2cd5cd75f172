"""One record of Xeno-Canto: what the fields of its API, version 2 and 3, mean."""

import re
from typing import Any


def manifest_row(record: dict[str, Any]) -> dict[str, str]:
    """Return the manifest's columns of one record, path left empty, missing and null as "".

    ``species`` is genus and epithet, ``locality`` the named one or else the coordinates,
    ``background_species`` is joined by semicolons.
    """
    latitude, longitude = text_of(record, "lat"), text_of(record, "lon", "lng")
    also = record.get("also")
    return {
        "recording_id": f"XC{text_of(record, 'id', 'nr')}",
        "path": "",
        "species": f"{text_of(record, 'gen')} {text_of(record, 'sp')}".strip(),
        "common_name": text_of(record, "en"),
        "recordist": text_of(record, "rec"),
        "date": text_of(record, "date"),
        "time": text_of(record, "time"),
        "locality": text_of(record, "loc")
        or (f"{latitude}, {longitude}" if latitude and longitude else ""),
        "latitude": latitude,
        "longitude": longitude,
        "license": with_scheme(text_of(record, "lic")),
        "url": with_scheme(text_of(record, "url")),
        "quality": text_of(record, "q"),
        "equipment": ", ".join(filter(None, (text_of(record, "dvc"), text_of(record, "mic")))),
        "background_species": "; ".join(
            str(name).strip() for name in also if name and str(name).strip()
        )
        if isinstance(also, list)
        else text_of(record, "also"),
    }


def text_of(record: dict[str, Any], *names: str) -> str:
    """Return the first field of these names that holds text or a number, as text; or ""."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = " ".join(str(value).split())
            if text:
                return text
    return ""


def seconds_of(length: str) -> float | None:
    """Return the length in seconds of "1:02:03", "0:45" or "45"; None when it is not known."""
    if not re.fullmatch(r"\d+(:\d+){0,2}(\.\d+)?", length):
        return None
    total = 0.0
    for part in length.split(":"):
        total = total * 60 + float(part)
    return total


def with_scheme(address: str) -> str:
    """Return a web address with https in front where it began with ``//``."""
    return "https:" + address if address.startswith("//") else address
