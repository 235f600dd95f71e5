"""Calendar: times in which tasks do not run, shared by the tasks of a namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from taskrunner.api.v1alpha1.common import (
    SET,
    Conditions,
    Cron,
    Date,
    Items,
    Label,
    ObjectMeta,
    Rule,
    SpecModel,
    StatusModel,
    ZoneName,
    keyed,
    repeated,
)
from taskrunner.errors import Problem

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORKING_WEEK: tuple[Weekday, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")

_MONTH = 31 * 86_400


class DateRange(SpecModel):
    """Whole days in a row."""

    rules: ClassVar = (
        Rule("self.from <= self.to", "to must not be before from; swap the two dates", "to"),
    )

    name: Label = Field(
        description="Name of the range, unique in the list.", examples=["year-end-freeze"]
    )
    from_: Date = Field(alias="from", description="The first day.", examples=["2026-12-21"])
    to: Date = Field(description="The last day; it belongs to the range.", examples=["2027-01-03"])

    def problems(self) -> Iterator[Problem]:
        if self.to < self.from_:
            yield Problem("to", str(self.to), "It is before from.", "Swap the two dates.")


class Window(SpecModel):
    """A time that comes again and again."""

    name: Label = Field(description="Name of the window, unique in the list.", examples=["backup"])
    cron: Cron = Field(
        description="When the window opens, as a cron expression in the calendar's time zone.",
        examples=["0 22 * * SAT"],
    )
    duration_seconds: int = Field(
        ge=1,
        le=_MONTH,
        description="How long it stays open. 1 to 2678400 (31 days).",
        examples=[14_400],
    )


class Holidays(SpecModel):
    """Public holidays of a country, or of a part of it."""

    name: Label = Field(description="Name of the entry, unique in the list.", examples=["bavaria"])
    country: str = Field(
        min_length=2,
        max_length=2,
        pattern="^[A-Z]{2}$",
        description="Country as two capital letters (ISO 3166-1 alpha-2).",
        examples=["DE"],
    )
    subdivision: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="State or region, as in ISO 3166-2 without the country. Default: only what"
        " holds in the whole country.",
        examples=["BY"],
    )
    categories: Items[str] = Field(
        (),
        max_length=10,
        description="Kinds of holidays, such as public, bank, school or government, where the"
        " country has them. Default: public.",
        json_schema_extra=SET,
        examples=[["public"]],
    )
    names: Items[str] = Field(
        (),
        max_length=50,
        description="Take only the holidays with these names. Default: all.",
        json_schema_extra=SET,
        examples=[["Christmas Day"]],
    )


class Times(SpecModel):
    """A set of times: all that any of its parts names."""

    dates: Items[Date] = Field(
        (),
        max_length=400,
        description="Single days.",
        json_schema_extra=SET,
        examples=[["2026-12-24"]],
    )
    date_ranges: Items[DateRange] = Field(
        (),
        max_length=100,
        description="Days in a row; the first and the last belong to it.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "freeze", "from": "2026-12-21", "to": "2027-01-03"}]],
    )
    weekdays: Items[Weekday] = Field(
        (),
        max_length=7,
        description="Days of the week.",
        json_schema_extra=SET,
        examples=[["Saturday", "Sunday"]],
    )
    windows: Items[Window] = Field(
        (),
        max_length=50,
        description="Times that come again and again: a cron expression and a duration.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "backup", "cron": "0 22 * * SAT", "durationSeconds": 14400}]],
    )
    holidays: Items[Holidays] = Field(
        (),
        max_length=20,
        description="Public holidays by country and subdivision.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "germany", "country": "DE"}]],
    )

    def problems(self) -> Iterator[Problem]:
        lists = {
            "dateRanges": [entry.name for entry in self.date_ranges],
            "windows": [entry.name for entry in self.windows],
            "holidays": [entry.name for entry in self.holidays],
        }
        for field, names in lists.items():
            for position, name in repeated(names):
                yield Problem(
                    f"{field}[{position}].name",
                    name,
                    "Another entry has the same name.",
                    "Give each entry a name of its own.",
                )


class CalendarSpec(SpecModel):
    """Times in which tasks do not run. A time is excluded when `exclude` names it, or when
    `include` is given and does not name it."""

    rules: ClassVar = (
        Rule(
            "has(self.exclude) || has(self.include)",
            "a calendar needs exclude or include; set one of them",
        ),
    )

    display_name: str | None = Field(
        None,
        max_length=200,
        description="Name for people; at most 200 characters. Default: the object's name.",
        examples=["Holidays in Bavaria"],
    )
    description: str | None = Field(
        None,
        max_length=1000,
        description="What the calendar is for; at most 1000 characters.",
        examples=["Public holidays and the freeze at year's end"],
    )
    time_zone: ZoneName | None = Field(
        None,
        description="IANA time zone in which days begin and windows open. Default: UTC.",
        examples=["Europe/Berlin"],
    )
    exclude: Times | None = Field(
        None,
        description="Times in which tasks do not run.",
        examples=[{"weekdays": ["Saturday", "Sunday"]}],
    )
    include: Times | None = Field(
        None,
        description="The only times in which tasks run, such as a maintenance window; `exclude` is"
        " taken out of them. Default: all times.",
        examples=[{"weekdays": ["Saturday"]}],
    )
    business_days: Items[Weekday] = Field(
        WORKING_WEEK,
        min_length=1,
        max_length=7,
        description="Days of the week that are business days unless the calendar excludes the whole"
        " day; NextBusinessDay and PreviousBusinessDay move runs to them. Default: Monday to"
        " Friday.",
        json_schema_extra=SET,
        examples=[["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday"]],
    )

    def problems(self) -> Iterator[Problem]:
        if self.exclude is None and self.include is None:
            yield Problem(
                "", "", "The calendar excludes nothing.", "Set exclude or include, or both."
            )


class CalendarStatus(StatusModel):
    """What the operator found in the calendar. Written by the operator alone."""

    observed_generation: int | None = Field(
        None, description="The generation of the spec that this status was computed from."
    )
    conditions: Conditions = Field((), description="Ready: the calendar can be followed.")


class Calendar(SpecModel):
    """Times in which tasks do not run: holidays, freezes, blackout windows. Tasks of the namespace
    name it in spec.calendars."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: CalendarSpec = Field(description="Times in which tasks do not run.")
    status: CalendarStatus = Field(
        CalendarStatus(), description="What the operator found in the calendar."
    )
