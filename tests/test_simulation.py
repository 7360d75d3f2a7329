from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

# At the end: an installed wheel of the package itself stays in front of the checkout.
sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import simulation
from benchmarks.simulation_fleet import Scenario, drift, ours, period, stock
from benchmarks.simulation_plot import Axis, Line, plot, thin

QUOTA = 10


def test_all_sign_in_and_none_is_served_beyond_the_quota() -> None:
    """1,000 processes that start in the same minute, through four renewals."""
    result = ours(Scenario(1000, 900, 4000, quota=QUOTA))
    assert max(result.served) <= QUOTA
    assert result.lost == 0
    assert sum(result.served) >= 5 * 1000


def test_the_steady_state_is_even() -> None:
    """At 80 % of the quota the busiest minute is under 1.3 times the mean, with what is refused."""
    scenario = Scenario(simulation.fleet(900, 0.8), 900, 2400, drifted=True)
    minutes = ours(scenario).buckets(60)
    assert max(minutes) <= 1.3 * sum(minutes) / len(minutes)


def test_a_fleet_that_is_in_step_drifts_apart() -> None:
    """Busiest to mean falls from over 5 to under 1.3 within twelve renewals of 15 minutes."""
    counts = drift(900, renewals=14)
    mean = 1 / period(900)
    assert max(counts[20:60]) > 5 * mean
    assert max(counts[480:520]) < 1.3 * mean


@pytest.mark.parametrize(
    ("session", "outage"), [(900, 60), (900, 300), (3600, 300), (3600, 1800), (3600, 7200)]
)
def test_after_an_outage_nothing_expires_that_could_have_been_saved(
    session: int, outage: int
) -> None:
    """A fleet of half the quota; what 2½ or 5 minutes of reserve cover costs nothing at all."""
    end = 600 + outage
    scenario = Scenario(
        simulation.fleet(session, 0.5), session, end + 3600, outages=((600, end),), drifted=True
    )
    result = ours(scenario)
    assert result.avoidable == 0
    assert (result.lost == 0) == (outage <= session / 12)


def test_stock_renewal_asks_without_pause_where_ours_waits() -> None:
    """Both at the same fleet and outage; the simulation can tell good rules from bad."""
    scenario = Scenario(1500, 3600, 6000, outages=((600, 1500),), drifted=True)
    assert max(stock(scenario).buckets(60)) > 10 * max(ours(scenario).buckets(60))
    assert stock(scenario).unusable > 0


def test_the_same_seed_gives_the_same_figures() -> None:
    """So that the documentation's can be made again."""
    scenario = Scenario(200, 900, 2000)
    assert ours(scenario).requests == ours(scenario).requests


def test_a_plot_is_a_small_well_formed_svg() -> None:
    """Thinned to the highest of neighbours, so that no peak is lost."""
    points = [(float(at), 1000.0 if at == 777 else 1.0) for at in range(20_000)]
    thinned = thin(points, most=500)
    assert len(thinned) == 500
    assert (777.0, 1000.0) in thinned
    text = plot("T", [Line("a", thinned)], x=Axis("x", 0, 20_000), y=Axis("y", 1, 10_000, log=True))
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert len(text) < 40_000
