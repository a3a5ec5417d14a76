"""A configuration is understood whole or refused, by a message that names file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalogue import make_catalogue
from gateway.chain.reading import Series
from gateway.config import Config, load_config, parse_config
from gateway.contracting import configured_contracts
from gateway.errors import ConfigError
from gateway.region.herald import check_birth

BASE = """
[gateway]
name = "flat 3"
region = "north"
data = "data"

[[sensors]]
name = "gas"
driver = "mq"
options = { input = "a0", model = "mq4" }
series = [{ name = "ch4", calibration = { kind = "mq", gas = "ch4", r0_ohm = 10000 } }]
"""


def parse(text: str, where: str = "/etc/tocsin/gateway.toml") -> Config:
    return parse_config(text, Path(where))


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_all(text)
    return str(caught.value)


def read_all(text: str) -> None:
    config = parse(text)
    make_catalogue(config.sensors, "gateway.toml")
    configured_contracts(config, "gateway.toml")


def test_paths_are_relative_to_the_file() -> None:
    enrolment = '[enrolment]\nurl = "https://hub"\nticket = "ticket"\n'
    config = parse(BASE + enrolment + '[[hubs]]\nname = "hub"\nurl = "mqtts://hub"\nca_file = "ca.pem"\n')
    assert config.data == Path("/etc/tocsin/data")
    assert config.gateway.trust == "/etc/tocsin/trust"
    assert config.enrolment is not None
    assert config.enrolment.ticket == "/etc/tocsin/ticket"
    assert (config.hubs[0].ca_file, config.hubs[0].key_file) == ("/etc/tocsin/ca.pem", "")


@pytest.mark.parametrize(("storage", "bound"), [("sd", 10_000), ("ssd", 1_000)])
def test_the_loss_bound_follows_the_storage_class(storage: str, bound: int) -> None:
    text = BASE.replace('data = "data"', f'data = "data"\nstorage = "{storage}"')
    assert parse(text).gateway.bound_ms == bound


def test_the_loss_bound_can_be_set() -> None:
    assert parse(BASE.replace('data = "data"', 'data = "data"\nloss_bound_ms = 0')).gateway.bound_ms == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "flat 3"', 'nmae = "flat 3"', "did you mean 'name'"),
        ('region = "north"', 'region = "North Wing"', "region 'North Wing'"),
        ('driver = "mq"', 'driver = "mqq"', "did you mean 'mq'"),
        ('model = "mq4"', 'model = "mq3"', "model"),
        ('kind = "mq"', 'kind = "mr"', "kind must be one of"),
        ('gas = "ch4"', 'gas = "xenon"', "xenon"),
        ('driver = "mq"', 'driver = "mq"\nperiod_ms = 1', "period_ms must be at least"),
        (
            '{ name = "ch4", calibration',
            '{ name = "ch4", quantity = "volt", calibration',
            "no quantity is called",
        ),
        ('{ name = "ch4", calibration', '{ name = "CH 4", calibration', "CH 4"),
        ("r0_ohm = 10000", 'r0_ohm = 10000, temperature = "t", humidity = "h"', "needs the series t"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(old: str, new: str, said: str) -> None:
    message = refused(BASE.replace(old, new))
    assert said in message
    assert "gateway.toml" in message


def test_a_series_is_of_one_sensor() -> None:
    other = '[[sensors]]\nname = "more"\ndriver = "contact"\noptions = { pin = 4 }\n'
    series = 'series = [{ name = "ch4", quantity = "active" }]\n'
    assert "series ch4 is of sensor gas and of more" in refused(BASE + other + series)


def test_a_sensor_without_series_gives_each_quantity_as_a_public_one() -> None:
    text = BASE + '[[sensors]]\nname = "air"\ndriver = "dht22"\nperiod_ms = 3000\noptions = { pin = 4 }\n'
    series = make_catalogue(parse(text).sensors, "test").series
    assert [(each.index, each.name, each.klass) for each in series] == [
        (0, "ch4", 0),
        (1, "air.temperature", 0),
        (2, "air.humidity", 0),
    ]
    assert all(Series.decode(each.encode()) == each for each in series)


def test_the_same_configuration_gives_the_same_catalogue() -> None:
    first, second = (make_catalogue(parse(BASE).sensors, "test").listing for _ in range(2))
    assert first == second


def test_a_dead_band_needs_a_longest_interval() -> None:
    text = BASE.replace('{ name = "ch4",', '{ name = "ch4", dead_band = 5,')
    assert "a dead_band needs a longest_s" in refused(text)


def test_a_template_that_lacks_a_name_is_refused() -> None:
    message = refused(BASE + '[[contracts.templates]]\ntemplate = "gas-ch4"\n')
    assert "needs series" in message


def test_a_missing_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    assert "contract /etc/tocsin/none.toml cannot be read" in refused(
        BASE + '[contracts]\nfiles = ["none.toml"]\n'
    )


def test_what_no_birth_could_name_is_refused() -> None:
    series = make_catalogue(parse(BASE).sensors, "test").series
    check_birth(series, [bytes(16_000)] * 6)
    with pytest.raises(ConfigError, match="use fewer contracts, or shorter calibrations"):
        check_birth(series, [bytes(16_000)] * 8)


def test_the_catalogue_says_what_is_left_out_and_how_often_a_sensor_is_asked() -> None:
    for policy, said in (("", (0, 0, 250, 0)), ("dead_band = 5, longest_s = 60, ", (5, 60_000, 250, 30_000))):
        text = BASE.replace("{ name = ", "{ " + policy + "name = ").replace(
            '"gas"', '"gas"\nperiod_ms = 250', 1
        )
        (series,) = make_catalogue(parse(text).sensors, "test", 30_000).series
        assert (series.dead_band, series.longest, series.period, series.ring) == said
