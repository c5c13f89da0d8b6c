import pytest

from orchestrator.preflight.capacity import NodeTypes, capacity


@pytest.mark.parametrize(
    ("need", "ok", "detail"),
    [
        ({"CPU": 1, "GPU": 0.25}, True, "a trial of 1 CPU, 0.25 GPU fits on 1 of 2 nodes, 4 at once"),
        ({"CPU": 1, "GPU": 0.6}, True, "a trial of 1 CPU, 0.6 GPU fits on 1 of 2 nodes, 2 at once"),
        ({"CPU": 8, "GPU": 2}, False, "no node has 8 CPU and 2 GPU together"),
        ({"CPU": 32}, False, "CPU: a trial needs 32, the largest node has 16"),
    ],
)
def test_room_on_the_nodes_that_are_up(need, ok, detail):
    found = capacity(need, [{"CPU": 16.0}, {"CPU": 4.0, "GPU": 2.0}], lambda: NodeTypes({}))
    assert (found.ok, found.detail) == (ok, detail)


@pytest.mark.parametrize(
    ("types", "ok", "told"),
    [
        (NodeTypes({"a": {"CPU": 2}}), False, "the largest that may be launched 0"),
        (NodeTypes({}, unknown="it runs elsewhere"), True, "not known (it runs elsewhere)"),
        (NodeTypes({}, broken="the autoscaler has ended: KeyError: 'x'"), False, "KeyError: 'x'"),
        (NodeTypes({"a": {"CPU": 2}, "b": {"CPU": 8, "GPU": 1}}), True, "may be launched: b"),
    ],
)
def test_room_on_the_nodes_that_may_come(types, ok, told):
    found = capacity({"CPU": 1, "GPU": 1}, [{"CPU": 16.0}], lambda: types)
    assert found.ok == ok
    assert told in found.detail
