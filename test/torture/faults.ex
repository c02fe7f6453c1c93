defmodule Torture.Faults do
  @moduledoc """
  The schedule: a cycle is one kill -9 at a random moment among up to four other faults.  All moments
  and choices come from the process's seeded random numbers, so a seed repeats the schedule.
  """

  alias Torture.{Documents, World}

  # {weight, fault, how long it lasts in ms}
  @faults [
    {8, :answers, 0},
    {2, :refuse_document, 0},
    {2, :refuse_item, 0},
    {2, :firewall, 0},
    {2, :always_500, 0},
    {2, :hanging_document, 0},
    {2, :kind_away, 0},
    {2, :bad_deploy, 0},
    {1, :index_building, 0},
    {2, :too_many_requests, 0},
    {2, :transaction_limit, 0},
    {3, :standin_away, 300},
    {3, :standin_frozen, 700},
    {3, :sidecar_frozen, 500},
    {3, :disk_full, 500},
    {2, :disk_wont_grow, 500},
    {2, :epmd, 300},
    {3, :clock, 0},
    {2, :disconnect, 0},
    {1, :restart, 0},
    {1, :terminate, 0},
    {1, :pause, 300},
    {1, :paused_deployment, 0},
    {1, :reload, 0},
    {1, :wiped, 0},
    {2, :restored, 0},
    {1, :moved, 0}
  ]

  # Of test/convex/README.md; with {extra fields}.
  @answers [
    ~s("occ"),
    ~s("committer_full"),
    ~s("expired_in_queue"),
    ~s("execute_full"),
    ~s("worker_overloaded"),
    ~s("too_many_concurrent"),
    ~s("too_many_writes"),
    ~s("internal"),
    ~s("internal_after"),
    ~s("timeout408"),
    ~s("html502"),
    ~s("retry_after","seconds":1),
    ~s("bad_admin_key"),
    ~s("paused"),
    ~s("function_error"),
    ~s("reset_before"),
    ~s("close_before"),
    ~s("reset_after"),
    ~s("close_after"),
    ~s("hang"),
    ~s("truncate"),
    ~s("garbage"),
    ~s("chunked"),
    ~s("slow_body","ms":1),
    ~s("connection_close"),
    ~s("twice","ms":0),
    ~s("twice","ms":20),
    ~s("late","ms":300),
    ~s("late","ms":1500),
    ~s("stall","ms":400),
    ~s("occ","ms":400),
    ~s("reset_after","ms":300)
  ]

  @ill __MODULE__.Ill
  def new, do: :ets.new(@ill, [:set, :public, :named_table])

  @doc "All of them."
  def names, do: [:kill | Enum.map(@faults, &elem(&1, 1))]

  @doc "One cycle's plan: `[{at_ms, step}]`, ascending; of the faults in `only`."
  def plan(cycle_ms, only) do
    faults = Enum.filter(@faults, fn {_, fault, _} -> fault in only end)
    total = faults |> Enum.map(&elem(&1, 0)) |> Enum.sum()

    others =
      if total == 0,
        do: [],
        else: for(_ <- 1..:rand.uniform(4), do: pick(:rand.uniform(total), faults))

    kill = for :kill <- only, do: {cycle_ms, :kill, 0}

    (kill ++ Enum.map(others, fn {_, fault, lasts} -> {cycle_ms, fault, lasts} end))
    |> Enum.flat_map(fn {within, fault, lasts} ->
      at = :rand.uniform(within)
      begin = {at, {:begin, fault, :rand.uniform(1_000_000)}}
      if lasts > 0, do: [begin, {at + :rand.uniform(lasts), {:end, fault}}], else: [begin]
    end)
    |> Enum.sort()
  end

  defp pick(x, [{weight, _, _} = fault | _]) when x <= weight, do: fault
  defp pick(x, [{weight, _, _} | rest]), do: pick(x - weight, rest)

  @doc "Do one step; the world it leaves.  `entities` are those a document fault may name."
  def step(world, {:begin, fault, x}, entities), do: start(fault, x, world, entities)
  def step(world, {:end, fault}, _entities), do: finish(fault, world)

  defp start(:kill, _x, w, _), do: sidecar(w, "KILL")
  defp start(:terminate, _x, w, _), do: sidecar(w, "TERM")
  defp start(:sidecar_frozen, _x, w, _), do: sidecar(w, "STOP")

  defp start(:answers, x, w, _) do
    standin(
      w,
      ~s({"kind":#{Enum.at(@answers, rem(x, length(@answers)))},"times":#{1 + rem(div(x, 100), 5)}})
    )
  end

  # One document is ill until the faults are lifted.  Three of these may end as a dead letter, if it is written meanwhile.
  defp start(:refuse_document, x, w, entities), do: ill(w, x, entities, ~s("function_error","message":"refused by torture"))
  defp start(:refuse_item, x, w, entities), do: ill(w, x, entities, ~s("refuse_item"))

  # 429 and 503 from something in front, too: it looks at what goes by, and its status says nothing.
  defp start(:firewall, x, w, entities) do
    status = Enum.at([400, 401, 403, 404, 406, 413, 418, 429, 451, 500, 501, 503, 520, 301], rem(div(x, 100), 14))
    ill(w, x, entities, ~s("status","status":#{status}))
  end

  defp start(:always_500, x, w, entities), do: ill(w, x, entities, ~s("internal"))
  defp start(:hanging_document, x, w, entities), do: ill(w, x, entities, ~s("hang"))

  # No item of a kind passes; or nothing at all, as each call that has one is told that there is no such function.
  defp start(:kind_away, x, w, _) do
    kind = Enum.at(["run_summary", "codex_worker_summary"], rem(x, 2))
    what = Enum.at(["refuse_item", "refuse_item", "not_deployed"], rem(div(x, 2), 3))
    standin(w, ~s({"kind":"#{what}","match":{"kind":"#{kind}"},"for_ms":#{seconds(x)}}))
  end

  defp start(:bad_deploy, x, w, _) do
    text = Enum.at(["TypeError: x is not a function", "ArgumentValidationError: Object contains extra field `call`"], rem(x, 2))
    standin(w, ~s({"kind":"function_error","message":"#{text}","for_ms":#{seconds(x)}}))
  end

  defp start(:index_building, x, w, _), do: standin(w, ~s({"kind":"index_building","for_ms":#{seconds(x)}}))
  defp start(:paused_deployment, x, w, _), do: standin(w, ~s({"kind":"paused","for_ms":#{seconds(x)}}))
  defp start(:too_many_requests, x, w, _), do: standin(w, ~s({"kind":"retry_after","seconds":1,"for_ms":#{seconds(x)}}))

  # More than so much in one call is too much for a transaction.
  defp start(:transaction_limit, x, w, _) do
    text = "Too many bytes read in a single function execution (limit: 16777216 bytes). Consider using smaller limits in your queries"
    standin(w, ~s({"kind":"function_error","message":"#{text}","match":{"over_bytes":#{6000 + rem(x, 20_000)}},"for_ms":#{seconds(x)}}))
  end

  defp start(:standin_away, x, w, _),
    do: control(w, fn -> Standin.away(w.standin, 1 + rem(x, 400)) end)

  defp start(:standin_frozen, _x, w, _), do: hurt(w, fn -> World.kill(w.standin.pid, "STOP") end)
  defp start(:disk_full, _x, w, _), do: hurt(w, fn -> World.limit_files(World.os_pid(w), 0) end)

  defp start(:disk_wont_grow, _x, w, _),
    do: hurt(w, fn -> World.limit_files(World.os_pid(w), World.store_bytes(w)) end)

  defp start(:epmd, _x, w, _), do: hurt(w, fn -> World.kill_epmd(w) end)
  defp start(:disconnect, _x, w, _), do: hurt(w, fn -> World.disconnect(w) end)
  defp start(:pause, _x, w, _), do: hurt(w, fn -> :convex_sidecar.call(w.name, :pause, 500) end)
  defp start(:reload, _x, w, _), do: hurt(w, fn -> if listens_to_hup?(World.os_pid(w)), do: sidecar(w, "HUP") end)

  # An hour, a day or a second, back or forth of the right time.
  defp start(:clock, x, w, _) do
    offset = Enum.at([-86_400_000, -3_600_000, -1000, 0, 1000, 3_600_000, 86_400_000], rem(x, 7))
    hurt(w, fn -> World.set_clock(w, offset) end)
  end

  # Convex is as it was when the last cycle that was remembered ended; or empty, and another deployment.
  defp start(:restored, _x, w, _), do: otherside(w, fn -> Standin.restore(w.standin) end)
  defp start(:wiped, _x, w, _), do: otherside(w, fn -> Standin.wipe(w.standin) end)

  # Sidecars read where they write to when they start.
  defp start(:moved, _x, w, _), do: w |> otherside(fn -> Standin.clear_faults(w.standin) end) |> World.move() |> sidecar("TERM")

  # An operator's restart, which waits for what is under way; not here.
  defp start(:restart, _x, w, _),
    do: hurt(w, fn -> spawn(fn -> :convex_sidecar.restart(w.name) end) end)

  defp finish(:sidecar_frozen, w), do: sidecar(w, "CONT")
  defp finish(:standin_frozen, w), do: thaw(w)
  defp finish(:epmd, w), do: %{w | epmd: World.start_epmd(w.epmd)}

  defp finish(fault, w) when fault in [:disk_full, :disk_wont_grow],
    do: hurt(w, fn -> World.limit_files(World.os_pid(w), "unlimited") end)

  defp finish(:pause, w), do: hurt(w, fn -> :convex_sidecar.call(w.name, :resume, 500) end)
  defp finish(:standin_away, w), do: w

  @doc "Every answer of the list, twice: for the last versions of all documents."
  def all_answers(w) do
    json = Enum.map_join(@answers, ",", fn fields -> ~s({"kind":#{fields},"times":2}) end)
    Standin.faults(w.standin, "[#{json}]")
    w
  end

  @doc "The end of all faults."
  def lift(w) do
    :convex_sidecar.call(w.name, :resume, 1000)
    w |> sidecar("CONT") |> thaw()
    true = World.wait_until(fn -> reaches_standin?(w) end, 10_000)
    Standin.clear_faults(w.standin)
    World.limit_files(World.os_pid(w), "unlimited")
    World.set_clock(w, 0)
    w
  end

  @doc "Take back what document faults are set, so that they do not pile up."
  def forgive(w), do: control(w, fn -> Standin.clear_faults(w.standin) end)

  def reaches_standin?(w) do
    Standin.clear_faults(w.standin) != nil
  rescue
    _ -> false
  end

  defp otherside(w, fun) do
    :ets.insert(@ill, {:otherside})
    control(w, fun)
  end

  @doc "Whether Convex has lost what it had."
  def otherside?, do: :ets.member(@ill, :otherside)

  @doc "What a restore brings back."
  def remember(w), do: control(w, fn -> Standin.snapshot(w.standin) end)

  @doc "Whether a fault has ever been about this document."
  def ever_ill?(document_id), do: :ets.member(@ill, document_id)

  defp ill(w, x, entities, fields) do
    id = Documents.document_id(Enum.at(entities, rem(x, length(entities))))
    :ets.insert(@ill, {id})
    standin(w, ~s({"kind":#{fields},"times":0,"match":{"document_id":"#{id}"}}))
  end

  defp seconds(x), do: 300 + rem(x, 2200)

  # Either: the sidecar may have moved meanwhile.
  defp thaw(w), do: hurt(w, fn -> for standin <- [w.standin, w.other], do: World.kill(standin.pid, "CONT") end)

  # A program that has not come to its main function yet dies of a HUP, whatever it is.
  defp listens_to_hup?(pid) do
    case File.read("/proc/#{pid}/status") do
      {:ok, status} -> status =~ ~r/^Sig(Blk|Ign):.*[13579bdf]$/m
      {:error, _} -> false
    end
  end

  defp sidecar(w, signal), do: hurt(w, fn -> World.kill(World.os_pid(w), signal) end)
  defp standin(w, json), do: control(w, fn -> Standin.faults(w.standin, json) end)

  # The stand-in may be frozen or away itself: then it is hurt enough.
  defp control(w, fun) do
    Task.start(fn ->
      try do
        fun.()
      rescue
        _ -> :away
      end
    end)

    w
  end

  defp hurt(w, fun) do
    fun.()
    w
  end
end
