defmodule ConvexSidecar.LooksClockTest do
  @moduledoc """
  The looks without a conveyor: the test takes its place and turns the clock by what stands in the table, so that no
  time is waited for and each look is exact.
  """
  use SidecarCase, async: true

  alias :convex_sidecar_looks, as: Looks

  @moduletag :capture_log

  # Places in the row of a look.
  @slot 4
  @asked 7
  @until 9
  @since 10

  setup do
    {:ok, house()}
  end

  defp house(options \\ []) do
    name = unique_name("looks")
    info = :convex_sidecar_instance.open(name, Map.merge(%{dest: {:nobody, node()}, dirty_limit: 10, hint_limit: 10}, Map.new(options)))
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    %{name: name, info: info, looks: Looks.open(info)}
  end

  defp mark(id, source \\ {MemoryLog, 1}), do: {{:run_summary, id}, source}
  defp row(c, id), do: c.info.looks |> :ets.lookup({:run_summary, id}) |> List.first()
  defp value(c, id, place), do: c |> row(id) |> elem(place - 1)
  defp now_slot, do: div(:erlang.convert_time_unit(:erlang.monotonic_time() - :erlang.system_info(:start_time), :native, :millisecond), 100)
  # In how many ms it is due, by the table; the machine may have taken its time since.
  defp due_in(c, id), do: (value(c, id, @slot) - now_slot()) * 100

  defp sent(looks, id, options \\ []),
    do: Looks.sent(options[:mark] || mark(id), options[:seen] || 7, options[:read_at] || 0, Keyword.get(options, :new, true), looks)

  # All that is on the wheel is due: the conveyor before this one died, and the time has come.
  defp later(c, ids) do
    for id <- ids, do: :ets.update_element(c.info.looks, {:run_summary, id}, {@slot, 0})
    Looks.due(due_soon(Looks.open(c.info)))
  end

  # The slot that it was put in has begun.
  defp due_soon(looks) do
    next = Looks.next(looks)
    if is_integer(next), do: wait_until(fn -> now_slot() >= next end)
    looks
  end

  defp compare(looks, due, found), do: Looks.compare(due, %{}, found, looks)
  defp same(seen), do: {:ok, %{seen: seen}}

  test "what was handed over is due after a tenth of a second, and once more after two", c do
    assert Looks.next(c.looks) == :none
    looks = sent(c.looks, "a", seen: 7)
    assert due_in(c, "a") in -5000..200
    assert value(c, "a", @slot) == Looks.next(looks)
    assert Looks.ms_until(Looks.next(looks)) in 0..200
    mark = mark("a")
    assert {[{:compare, ^mark, {:look, _, _, _, _, 7, _, _, _, _}}] = due, looks} = later(c, ~w(a))
    assert Looks.next(looks) == :none
    began = now_slot()
    assert {[], looks} = compare(looks, due, fn ^mark -> same(7) end)
    assert Looks.next(looks) == value(c, "a", @slot)
    # Two seconds from then.
    assert value(c, "a", @slot) >= began + 20
    assert value(c, "a", @slot) <= now_slot() + 21
    assert {[{:compare, ^mark, {:look, _, _, _, _, 7, _, _, _, _}}] = due, looks} = later(c, ~w(a))
    assert {[], looks} = compare(looks, due, fn ^mark -> same(7) end)
    assert row(c, "a") == nil
    assert Looks.next(looks) == :none
    assert {[], _} = Looks.due(looks)
  end

  test "what is not as it was sent is named; what has gone is as it was", c do
    for id <- ~w(a b c), do: sent(c.looks, id)
    {due, looks} = later(c, ~w(a b c))
    assert length(due) == 3

    {changed, _} =
      compare(looks, due, fn
        {{_, "a"}, _} -> same(8)
        {{_, "b"}, _} -> same(7)
        {{_, "c"}, _} -> :not_found
      end)

    assert changed == [mark("a")]
  end

  test "those that were read together are compared with what was read, and nobody is asked", c do
    sent(c.looks, "a")
    {[{:compare, mark, _}] = due, looks} = later(c, ~w(a))
    assert {[^mark], _} = Looks.compare(due, %{mark => same(8)}, fn _ -> flunk("asked") end, looks)
  end

  test "one by one fifty are asked for in a group, and more as long as that takes no time; the others are next" do
    c = house(dirty_limit: 100)
    looks = for i <- 1..52, reduce: c.looks, do: (looks -> sent(looks, "r#{i}"))
    due = for i <- 1..52, do: {:compare, mark("r#{i}"), row(c, "r#{i}")}
    test = self()

    ask = fn mark ->
      if mark == mark("r1"), do: Process.sleep(30)
      send(test, {:asked, mark})
      same(7)
    end

    {[], looks} = Looks.compare(due, %{}, ask, looks)
    for {_, mark, _} <- Enum.take(due, 50), do: assert_received({:asked, ^mark})
    refute_received {:asked, _}
    assert Looks.next(looks) <= now_slot() + 1
  end

  test "an event log that is ill is asked three times, and all of the rest waits two seconds", c do
    for id <- ~w(a b c d e), do: sent(c.looks, id)
    {due, looks} = later(c, ~w(a b c d e))
    test = self()
    began = now_slot()
    {[], _} = compare(looks, due, fn mark -> send(test, {:asked, mark}) && :failed end)
    for _ <- 1..3, do: assert_received({:asked, _})
    refute_received {:asked, _}
    for id <- ~w(a b c d e), do: assert(value(c, id, @slot) >= began + 20)
  end

  test "what somebody else has handed over since it was read is sent again, whichever came last", c do
    looks = Looks.open(c.info)
    :ok = Looks.ask(c.name, mark("a", {MemoryLog, 2}), 5, false)
    assert Looks.has_asked(looks)
    looks = Looks.asked(looks)
    refute Looks.has_asked(looks)
    at = value(c, "a", @asked)
    assert is_integer(at)
    # At the same moment nobody knows either.
    for {read_at, seen} <- [{at - 1, :undefined}, {at, :undefined}, {at + 1, 9}] do
      sent(looks, "a", seen: 9, read_at: read_at)
      assert {read_at, value(c, "a", 6)} == {read_at, seen}
    end
  end

  test "what was swept is looked at again only if it was before", c do
    sent(c.looks, "a", new: false)
    assert row(c, "a") == nil
    Looks.sent(mark("a"), :undefined, 0, true, c.looks)
    assert row(c, "a") == nil
    looks = sent(c.looks, "a")
    sent(looks, "a", new: false, seen: 8)
    assert value(c, "a", 6) == 8
  end

  test "what was read in a transaction is looked at for a minute, whatever was found", c do
    :ok = Looks.ask(c.name, mark("a"), :transaction)
    assert [{{_, true}, :undefined, until, _}] = :ets.tab2list(c.info.asked)
    assert (div(until, 100) - now_slot()) in 500..600
    began = now_slot()
    Looks.asked(c.looks)
    assert value(c, "a", @slot) >= began + 20
    {[{:compare, _, {:look, _, _, _, _, :undefined, _, _, _, _}}] = due, looks} = later(c, ~w(a))
    {[], _} = compare(looks, due, fn _ -> :not_found end)
    {due, looks} = later(c, ~w(a))
    {[], _} = compare(looks, due, fn _ -> :not_found end)
    # The minute is over.
    :ets.update_element(c.info.looks, {:run_summary, "a"}, {@until, 1})
    assert {[{:compare, _, _}] = due, looks} = later(c, ~w(a))
    {[], _} = compare(looks, due, fn _ -> :not_found end)
    assert row(c, "a") == nil
    :ok = Looks.ask(c.name, mark("b"), 5, false)
    assert [{{_, false}, 5, 0, _}] = :ets.tab2list(c.info.asked)
  end

  test "a log that is shorter than the fold is asked for after 1, 5 and 30 seconds, the last time to go below", c do
    began = now_slot()
    Looks.behind(mark("a"), c.looks)
    since = value(c, "a", @since)
    assert div(since, 100) in began..now_slot()
    # On the wheel a second after it was seen, rounded up.
    assert value(c, "a", @slot) == div(since + 1000 + 99, 100)

    for {ago, slot} <- [{1000, 50}, {5000, 300}] do
      :ets.update_element(c.info.looks, {:run_summary, "a"}, [{@since, since - ago}])
      {[{:again, mark, _}], looks} = later(c, ~w(a))
      Looks.behind(mark, looks)
      assert value(c, "a", @slot) == div(since - ago + slot * 100 + 99, 100)
    end

    for {ago, what} <- [{29_000, :again}, {30_000, :below}] do
      # It may have become later meanwhile.
      now = since_now()
      :ets.update_element(c.info.looks, {:run_summary, "a"}, [{@since, now - ago}])
      {[{^what, _, _}], _} = later(c, ~w(a))
    end
  end

  # With a transaction open it is looked at every two seconds in between.
  test "a shorter log in a transaction waits no longer than two seconds", c do
    :ok = Looks.ask(c.name, mark("a"), :transaction)
    looks = Looks.asked(c.looks)
    Looks.behind(mark("a"), looks)
    {[{:again, mark, _}], looks} = later(c, ~w(a))
    :ets.update_element(c.info.looks, {:run_summary, "a"}, [{@since, since_now() - 6000}])
    Looks.behind(mark, looks)
    assert value(c, "a", @slot) <= now_slot() + 21
    :ets.update_element(c.info.looks, {:run_summary, "a"}, [{@until, 1}])
    {[_], looks} = later(c, ~w(a))
    Looks.behind(mark, looks)
    assert value(c, "a", @slot) > now_slot() + 100
  end

  defp since_now, do: :erlang.convert_time_unit(:erlang.monotonic_time() - :erlang.system_info(:start_time), :native, :millisecond)

  test "what has been put off is on the wheel once, and goes on to where it is due", c do
    looks = sent(c.looks, "a")
    first = Looks.next(looks)
    looks = Looks.later({:compare, mark("a"), row(c, "a")}, looks)
    # It comes by where it stood, and goes on.
    assert Looks.next(looks) == first
    assert value(c, "a", @slot) > first + 10
    assert {[], looks} = Looks.due(due_soon(looks))
    assert Looks.next(looks) == value(c, "a", @slot)
    # Earlier than where it stands, it stands there as well, and counts once.
    looks = sent(looks, "a")
    assert Looks.next(looks) < first + 19
    assert {[{:compare, _, {:look, _, _, _, _, 7, _, _, _, _}}], _} = Looks.due(due_soon(looks))
  end

  test "an entity that is handed over again and again stands on the wheel once", c do
    looks = for _ <- 1..50, reduce: c.looks, do: (looks -> sent(looks, "a"))
    # The row of the wheel that is being filled.
    assert {_slot, 1, [{:run_summary, "a"}]} = looks |> Tuple.to_list() |> Enum.find(&match?({_, _, [_ | _]}, &1))
  end

  test "a group has five hundred and twelve, the rest comes soon" do
    c = house(dirty_limit: 2000)
    for i <- 1..513, do: sent(c.looks, "r#{i}")
    {group, looks} = later(c, for(i <- 1..513, do: "r#{i}"))
    assert length(group) == 512
    assert Looks.next(looks) == :soon
    assert Looks.ms_until(:soon) == 100
    assert {[_], looks} = Looks.due(looks)
    assert Looks.next(looks) == :none
  end

  test "more than there is room for: their kinds are named once half of it is free" do
    house = house(dirty_limit: 4)
    looks = for id <- ~w(a b c d), reduce: house.looks, do: (looks -> sent(looks, id))
    assert {[], looks} = Looks.missed(looks)
    other = {MemoryLog, 9}
    looks = sent(looks, "e", mark: mark("e", other))
    assert :ets.info(house.info.looks, :size) == 4
    # One that is known goes on.
    looks = sent(looks, "a", seen: 8)
    assert value(house, "a", 6) == 8
    assert {[], looks} = Looks.missed(looks)
    :ets.delete(house.info.looks, {:run_summary, "d"})
    assert {[], looks} = Looks.missed(looks)
    :ets.delete(house.info.looks, {:run_summary, "c"})
    assert {[{:run_summary, ^other}], looks} = Looks.missed(looks)
    assert {[], _} = Looks.missed(looks)
    # Of a hundred sources, and no more.
    full = for id <- ~w(x y), reduce: looks, do: (looks -> sent(looks, id))
    full = for i <- 1..101, reduce: full, do: (looks -> sent(looks, "z#{i}", mark: mark("z#{i}", {MemoryLog, i})))
    for id <- ~w(x y), do: :ets.delete(house.info.looks, {:run_summary, id})
    assert {missed, _} = Looks.missed(full)
    assert length(missed) == 100
  end

  test "what others ask for is bounded: beyond dirty_limit it is marked" do
    house = house(dirty_limit: 2)
    for id <- ~w(a b c), do: assert(Looks.ask(house.name, mark(id), 5, false) == :ok)
    assert :ets.info(house.info.asked, :size) == 2
    assert :ets.tab2list(house.info.dirty) == [{mark("c")}]
    assert Looks.ask(unique_name("gone"), mark("a"), 5, false) == :ok
  end

  test "who asks wakes a conveyor that dozes", c do
    Process.register(self(), :convex_sidecar_instance.conveyor_name(c.name))
    assert :convex_sidecar_marks.doze(:convex_sidecar_marks.open(c.info))
    :ok = Looks.ask(c.name, mark("a"), 5, false)
    assert_received :wake
  end

  test "what is refused goes through its two looks, unless a transaction may still bring it", c do
    looks = sent(c.looks, "a")
    Looks.refused(mark("nobody"), looks)
    looks = Looks.refused(mark("a"), looks)
    assert row(c, "a")
    Looks.refused(mark("a"), looks)
    assert row(c, "a") == nil
  end
end
