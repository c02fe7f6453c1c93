defmodule DistTest do
  @moduledoc """
  The rooms dist, link, message, node and epmd, met from real BEAM nodes through test/node/dist_node.c.

  Runs by itself too:  DIST_NODE=path elixir -r test/support/dist_node_case.ex -e 'ExUnit.start()' \\
                       -r test/dist_test.exs
  """

  use DistNodeCase, async: false

  @moduletag timeout: 120_000

  test "is a hidden node that answers pings", c do
    cn = start_c_node(c)
    b = start_beam(c)
    assert :pong == on(b, :net_adm, :ping, [cn.node], 5000)
    assert [cn.node] == on(b, :erlang, :nodes, [:hidden], 5000)
    assert [] == on(b, :erlang, :nodes, [], 5000)
  end

  test "echoes every kind of term", c do
    cn = start_c_node(c)
    assert [] == on(start_beam(c), :echo_all, [cn.server])
  end

  test "a reply after the timeout never reaches the mailbox", c do
    cn = start_c_node(c)
    assert {{:exit, :timeout}, :nothing} == on(start_beam(c), :late_reply, [cn.server])
  end

  test "a call to a name nobody has exits at once", c do
    cn = start_c_node(c)
    b = start_beam(c)
    assert {:ok, _} = on(b, :call, [cn.server, {:echo, :ok}])
    {exit, ms} = on(b, :call, [{:nobody, cn.node}, :anything])
    assert exit == {:exit, :noproc}
    assert ms < 100
    {{_, unknown, _, 1}, _} = on(b, :call, [cn.server, :counters])
    assert unknown == 1
  end

  test "casts arrive, plain messages are counted and dropped", c do
    cn = start_c_node(c)
    b = start_beam(c)
    on(b, :casts, [cn.server, 1000])
    assert {1000, _} = on(b, :call, [cn.server, :casts])
    on(b, :erlang, :send, [cn.server, :hello], 5000)
    on(b, :erlang, :send, [{:nobody, cn.node}, :hello], 5000)
    assert {{_, 2, 0, 1}, _} = on(b, :call, [cn.server, :counters])
  end

  test "64 callers at once, each gets its own answers", c do
    cn = start_c_node(c)
    assert 0 == on(start_beam(c), :concurrently, [cn.server, 64, 500])
  end

  test "three BEAM nodes at once", c do
    cn = start_c_node(c)
    beams = for _ <- 1..3, do: start_beam(c)

    assert [0, 0, 0] ==
             beams
             |> Enum.map(&Task.async(fn -> on(&1, :concurrently, [cn.server, 8, 500]) end))
             |> Task.await_many(60_000)

    assert {{_, 0, 0, 3}, _} = on(hd(beams), :call, [cn.server, :counters])
  end

  test "16 MB there and back", c do
    cn = start_c_node(c)
    assert on(start_beam(c), :echo_megabytes, [cn.server, 16])
  end

  test "ticks are answered, idle and in the middle of 16 MB messages", c do
    cn = start_c_node(c)
    ticking = [~c"-kernel", ~c"net_ticktime", ~c"4"]
    [idle, busy] = for _ <- 1..2, do: start_beam(c, args: ticking)

    assert [true, true] ==
             [
               Task.async(fn -> on(idle, :idle_during, [cn.server, cn.node, 8000]) end),
               Task.async(fn -> on(busy, :echo_during, [cn.server, cn.node, 8000]) end)
             ]
             |> Task.await_many(60_000)
  end

  test "a message over the limit is answered, and the connection lives", c do
    cn = start_c_node(c, max_message: 1_048_576)
    b = start_beam(c)
    {{:error, {:invalid, "", why}}, _} = on(b, :too_large, [cn.server, 8])
    assert why =~ ~r/^message of 83\d{5} bytes; node.max_message_bytes is 1048576$/
    assert {{:exit, :noproc}, _} = on(b, :too_large, [{:nobody, cn.node}, 8])
    assert {:ok, _} = on(b, :call, [cn.server, {:echo, :ok}])
    wait_line(cn, "dist.message_too_large")
  end

  test "a wrong cookie is refused, with a hint, and hurts nobody", c do
    cn = start_c_node(c)
    stranger = start_beam(c, cookie: "another")
    assert false == on(stranger, :net_kernel, :connect_node, [cn.node], 10_000)
    line = wait_line(cn, "dist.peer_refused")
    assert line =~ "wrong cookie"
    refute line =~ "a test's"
    b = start_beam(c)
    assert {{_, _, 1, 1}, _} = on(b, :call, [cn.server, :counters])
  end

  test "only nodes that node.allow_nodes names", c do
    cn = start_c_node(c, allow: "friend@127.0.0.1 family*@127.0.0.1")
    [friend, cousin, foe] = for n <- ~w(friend family7 foe), do: start_beam(c, name: n)
    assert {:ok, _} = on(friend, :call, [cn.server, {:echo, :ok}])
    assert {:ok, _} = on(cousin, :call, [cn.server, {:echo, :ok}])
    assert {{:exit, _}, _} = on(foe, :call, [cn.server, {:echo, :ok}])
    assert wait_line(cn, "dist.peer_refused") =~ "allow_nodes"
  end

  test "no more peers than allowed, and room again when one leaves", c do
    cn = start_c_node(c, max_peers: 1)
    [first, second] = for _ <- 1..2, do: start_beam(c)
    assert {:ok, _} = on(first, :call, [cn.server, {:echo, :ok}])
    assert {{:exit, _}, _} = on(second, :call, [cn.server, {:echo, :ok}])
    on(first, :erlang, :disconnect_node, [cn.node], 5000)
    wait_line(cn, "dist.peer_down")
    wait_until(fn -> match?({:ok, _}, on(second, :call, [cn.server, {:echo, :ok}])) end)
  end

  test "silent connections keep nobody waiting", c do
    cn = start_c_node(c)

    silent =
      for _ <- 1..500 do
        {:ok, s} = :gen_tcp.connect({127, 0, 0, 1}, cn.tcp_port, [])
        s
      end

    {answer, ms} = on(start_beam(c), :call, [cn.server, {:echo, :ok}])
    assert answer == :ok
    assert ms < 1000
    # And each of them is shown out, within the time a handshake may take.
    for s <- silent, do: assert_receive({:tcp_closed, ^s}, 12_000)
  end

  test "epmd may go and come back", c do
    cn = start_c_node(c)
    b = start_beam(c)
    assert {true, _} = on(b, :call, [cn.server, :published])
    signal(c.epmd, "KILL")
    wait_line(cn, "dist.epmd_lost")
    wait_until(fn -> match?({false, _}, on(b, :call, [cn.server, :published])) end)
    start_epmd(c.epmd_port)
    wait_line(cn, "dist.epmd_back")
    assert {true, _} = on(b, :call, [cn.server, :published])
    assert {:ok, _} = on(start_beam(c), :call, [cn.server, {:echo, :ok}])
  end

  test "a BEAM that does not read is cut off, the others are served, and it may come back", c do
    cn = start_c_node(c, max_unsent: 4_194_304)
    [stuck, other] = for _ <- 1..2, do: start_beam(c)
    assert {:ok, _} = on(stuck, :call, [cn.server, {:echo, :ok}])
    assert {:ok, _} = on(other, :call, [cn.server, {:echo, :ok}])
    on(stuck, :ask_for, [cn.server, 40, 1, 1000])
    signal(stuck.os_pid, "STOP")
    assert wait_line(cn, "dist.peer_down") =~ "answers were not read"
    {answer, ms} = on(other, :call, [cn.server, {:echo, :ok}])
    assert answer == :ok
    assert ms < 500
    signal(stuck.os_pid, "CONT")
    wait_until(fn -> match?({:ok, _}, on(stuck, :call, [cn.server, {:echo, :ok}])) end)
  end

  test "monitors and callers learn at once that it was killed", c do
    cn = start_c_node(c)
    b = start_beam(c)
    :ok = on(b, :watch, [cn.server, cn.os_pid])
    {down, ms, exit} = on(b, :watched, [200])
    assert down == :noconnection
    assert ms < 1000
    assert {:exit, {:nodedown, cn.node}} == exit
  end

  test "its name is free again when it has ended, answers still out or not", c do
    cn = start_c_node(c)
    b = start_beam(c)
    on(b, :ask_for, [cn.server, 3, 1, 300])
    assert {:ok, _} = on(b, :call, [cn.server, {:echo, :ok}])
    Port.close(cn.port)
    name = cn.node |> to_string() |> String.split("@") |> hd() |> to_charlist()

    wait_until(fn ->
      {:ok, names} = on(b, :erl_epmd, :names, [~c"127.0.0.1"], 5000)
      not List.keymember?(names, name, 0)
    end)

    assert {{:exit, _}, _} = on(b, :call, [cn.server, {:echo, :ok}])
  end
end
