defmodule Torture.Worker do
  @moduledoc """
  A process that writes its own entities until it is told to stop, in every way there is: single
  calls (kept and written), batches, finished documents, heartbeats, resets, clears, and the
  asynchronous form.

  What was not answered is sent again, the same, until it is: so each version is accounted for
  before the next one of that entity is made, and the newest one is known exactly when it ends.
  """

  alias Torture.{Documents, Log, Oracle}

  # Nobody waits longer for one answer; then the request is sent again.
  @patience_ms 2_000
  # An answer must come in the end: faults last a second or two.
  @at_most_ms 60_000

  # {weight, operation}
  @operations [
    {30, :append},
    {10, :heartbeat},
    {10, :written},
    {12, :batch},
    {10, :upsert},
    {4, :clear},
    {4, :reset},
    {20, :async},
    {4, :roll_back}
  ]
  @total @operations |> Enum.map(&elem(&1, 0)) |> Enum.sum()

  defstruct [
    :name,
    :entities,
    :log_entities,
    kept: 0,
    retries: 0,
    stuck: false,
    unexpected: [],
    events: %{},
    numbers: %{},
    gone: MapSet.new()
  ]

  @doc """
  Run until `stop_flag` (an `:atomics`) is 1. Entities: `%{project: {..}, upsert: {..}, log: {..}, rollbacks: :none | :some | :last}`; last: a third of
  the log ends with one.
  Gives `%{expected: %{document_id => fun}, kept, retries, unexpected}`.
  """
  def run(name, seed, entities, counters, stop_flag) do
    :rand.seed(:exsss, seed)
    w = %__MODULE__{name: name, entities: entities, log_entities: entities.log}
    w |> loop(counters, stop_flag) |> result()
  end

  defp loop(w, counters, stop_flag) do
    w = maybe_park(w)

    if :atomics.get(stop_flag, 1) == 1 do
      farewell(w)
    else
      before = w.kept
      w = operate(pick(:rand.uniform(@total), @operations), w)
      :counters.add(counters, 1, w.kept - before)
      Process.sleep(:rand.uniform(4) - 1)
      loop(w, counters, stop_flag)
    end
  end

  # ---- standing still

  @doc """
  Have these workers stand still, with nothing under way, until `go/1`: to look (`:look`), or because all is going to be
  cleared (`:clear`), which they register with the oracle.  Gives what `run/5` would give for each.
  """
  def park(pids, why) do
    ref = make_ref()
    for pid <- pids, do: send(pid, {:park, self(), ref, why})

    for pid <- pids do
      receive do
        {:parked, ^ref, ^pid, result} -> {pid, ref, result}
      after
        2 * @at_most_ms -> raise "a worker does not come to a stop"
      end
    end
  end

  def go(parked), do: for({pid, ref, _result} <- parked, do: send(pid, {:go, ref}))

  defp maybe_park(w) do
    receive do
      {:park, who, ref, why} ->
        w = if why == :clear, do: forget_all(w), else: w
        send(who, {:parked, ref, self(), result(w)})

        receive do
          {:go, ^ref} -> w
        end
    after
      0 -> w
    end
  end

  # Entities of the log are projected while all is cleared: the last version of theirs, again.
  defp forget_all(w) do
    Enum.each(Tuple.to_list(w.log_entities), &Log.cleared/1)
    Enum.reduce(Tuple.to_list(w.entities.project) ++ Tuple.to_list(w.entities.upsert), w, &forget(&2, &1))
  end

  defp forget(w, entity) do
    n = number(w, entity) + 1
    Oracle.cleared(Documents.document_id(entity), n)
    w = know(w, entity, n, 0)
    %{w | gone: MapSet.put(w.gone, entity)}
  end

  defp pick(x, [{weight, op} | _]) when x <= weight, do: op
  defp pick(x, [{weight, _} | rest]), do: pick(x - weight, rest)

  # A few entities are hot, so that versions replace each other while they wait.
  defp choose(entities) do
    if :rand.uniform(4) == 1,
      do: elem(entities, :rand.uniform(min(3, tuple_size(entities))) - 1),
      else: elem(entities, :rand.uniform(tuple_size(entities)) - 1)
  end

  # Two last versions of nearly every entity, while faults go on: a version that is lost shows only
  # when none came after it, and the first may be under way when the second comes.
  defp farewell(w) do
    rest =
      for entity <- Tuple.to_list(w.entities.project),
          not MapSet.member?(w.gone, entity),
          do: entity

    w =
      rest
      |> Enum.chunk_every(10)
      |> Enum.reduce(w, fn entities, w ->
        w |> last_versions(entities) |> last_versions(entities)
      end)

    w = Enum.reduce(Tuple.to_list(w.entities.upsert), w, &upsert(&2, &1))
    # Of the log every third one ends with a rollback, every third one as it was, unless that was cleared.
    for {entity, i} <- Enum.with_index(Tuple.to_list(w.log_entities)) do
      if rem(i, 3) < 2 or w.entities.rollbacks != :last or Log.cleared?(entity), do: append_async(w, entity)
      if rem(i, 3) == 1 and w.entities.rollbacks == :last, do: Log.roll_back(entity, 1)
    end

    w
  end

  defp last_versions(w, entities) do
    {requests, w} = Enum.map_reduce(entities, w, fn entity, w -> swap(advance(w, entity, 1, %{})) end)

    send_all(w, requests, requests)
  end

  # ---- what is done

  defp operate(:append, w), do: project(w, :rand.uniform(4), %{})
  defp operate(:heartbeat, w), do: project(w, 0, %{})
  defp operate(:written, w), do: project(w, 1, %{ack: :written, deadline_ms: 1_000})

  defp operate(:reset, w) do
    entity = choose(w.entities.project)
    seq = :rand.uniform(max(1, seq(w, entity)))
    {w, request} = version(w, entity, seq, 1, %{reset: true})
    send_all(w, [request])
  end

  defp operate(:batch, w) do
    chosen = Enum.uniq(for _ <- 1..(1 + :rand.uniform(40)), do: choose(w.entities.project))

    {w, pairs} = Enum.map_reduce(chosen, w, fn entity, w -> swap(batch_part(w, entity)) end) |> swap()

    {first, again} = {Enum.flat_map(pairs, &elem(&1, 0)), Enum.map(pairs, &elem(&1, 1))}
    send_all(w, first, again)
  end

  defp operate(:upsert, w), do: upsert(w, choose(w.entities.upsert))

  defp operate(:clear, w) do
    entity = choose(w.entities.project)
    w |> forget(entity) |> send_all([{{:clear, Documents.document_id(entity)}, nil}])
  end

  defp operate(:async, w) do
    for _ <- 1..:rand.uniform(5), do: append_async(w, choose(w.log_entities))
    w
  end

  # Nobody is told of a rollback.
  defp operate(:roll_back, %{entities: %{rollbacks: :none}} = w), do: operate(:async, w)

  defp operate(:roll_back, w) do
    entity = choose(w.log_entities)
    append_async(w, entity)
    Process.sleep(:rand.uniform(300))
    Log.roll_back(entity, :rand.uniform(2))
    w
  end

  defp upsert(w, {kind, _} = entity) do
    n = number(w, entity) + 1
    id = Documents.document_id(entity)
    {document, hash} = Documents.document(entity, n, n)
    Oracle.sent(id, hash, n)
    w = know(w, entity, n, n)

    send_all(w, [
      {{:upsert, kind, id, Map.put(document, "projected_at", DateTime.utc_now()), %{}}, hash}
    ])
  end

  # {w, {what is sent, what is sent again when nobody answered}}.  Now and then two versions of one
  # document in one message; sent again, the newer one alone: the older one may be behind the fold.
  defp batch_part(w, entity) do
    from = seq(w, entity) + 1
    {w, first} = advance(w, entity, :rand.uniform(3), %{})

    if :rand.uniform(8) == 1 do
      {w, {{:project, kind, id, row, events, opts}, hash} = second} = advance(w, entity, 1, %{})
      both = Documents.events(entity, from..List.last(events).seq)
      {w, {[first, second], {{:project, kind, id, row, both, opts}, hash}}}
    else
      {w, {[first], first}}
    end
  end

  defp swap({a, b}), do: {b, a}

  defp append_async(w, {kind, id} = entity) do
    Log.append(entity)
    :ok = :convex_sidecar.project_async(w.name, kind, id, Log.source())
  end

  defp project(w, new_events, opts) do
    entity = choose(w.entities.project)
    # The first version of an entity needs an event.
    {w, request} = advance(w, entity, if(seq(w, entity) == 0, do: max(1, new_events), else: new_events), opts)

    send_all(w, [request])
  end

  defp advance(w, entity, new_events, opts) do
    known = seq(w, entity)
    version(w, entity, known + new_events, known + 1, opts)
  end

  defp version(w, {kind, id} = entity, seq, from, opts) do
    n = number(w, entity) + 1
    {_document, hash} = Documents.document(entity, n, seq)
    Oracle.sent(Documents.document_id(entity), hash, n)
    events = Documents.events(entity, from..seq//1)
    {know(w, entity, n, seq), {{:project, kind, id, Documents.row(entity, n), events, opts}, hash}}
  end

  defp seq(w, entity), do: Map.get(w.events, entity, 0)
  defp number(w, entity), do: Map.get(w.numbers, entity, 0)

  defp know(w, entity, n, seq),
    do: %{
      w
      | events: Map.put(w.events, entity, seq),
        numbers: Map.put(w.numbers, entity, n),
        gone: MapSet.delete(w.gone, entity)
    }

  # ---- until it is answered

  defp send_all(w, [{request, hash}]),
    do: until_answered(w, {request, hash}, {request, hash}, deadline())

  defp send_all(w, requests, again),
    do: until_answered(w, batch(requests), batch(again), deadline())

  defp batch(requests) do
    {terms, hashes} = Enum.unzip(requests)
    {{:batch, terms}, hashes}
  end

  # One request that is never answered is enough.
  defp until_answered(%{stuck: true} = w, _request, _again, _deadline), do: w

  defp until_answered(w, {request, hashes}, again, deadline) do
    case judge(
           :convex_sidecar.call(w.name, request, %{
             timeout: @patience_ms,
             wait: {request, hashes} == again
           }),
           hashes
         ) do
      :kept ->
        %{w | kept: w.kept + if(is_list(hashes), do: length(hashes), else: 1)}

      {:again, reason} ->
        if System.monotonic_time(:millisecond) > deadline do
          accuse(%{w | stuck: true}, {:never_answered, reason, elem(request, 0)})
        else
          Process.sleep(:rand.uniform(20))
          until_answered(%{w | retries: w.retries + 1}, again, again, deadline)
        end

      {:unexpected, answer} ->
        accuse(w, {answer, brief(request)})
    end
  end

  defp deadline, do: System.monotonic_time(:millisecond) + @at_most_ms
  defp accuse(w, what), do: %{w | unexpected: [what | w.unexpected]}

  defp brief(request),
    do: request |> inspect(limit: 12, printable_limit: 80) |> String.slice(0, 300)

  defp judge({:ok, %{cleared: 1}}, nil), do: :kept

  defp judge({:ok, replies}, hashes) when is_list(hashes) and length(replies) == length(hashes) do
    Enum.zip(replies, hashes)
    |> Enum.map(fn {reply, hash} -> judge(reply, hash) end)
    |> Enum.find(:kept, &(&1 != :kept))
  end

  defp judge({:ok, %{projection_hash: hash, write: write, reason: reason}}, hash)
       when write in ["queued", "applied"] or reason in ["idempotent", "dead"],
       do: :kept

  defp judge({:error, reason}, _) when reason in [:busy, :draining, :timeout, :unavailable],
    do: {:again, reason}

  # It stays kept, or is a dead letter; asked again it says which, or is skipped.
  defp judge({:error, {:sink_write_failed, _}}, _), do: :kept
  defp judge({:error, {:store, _} = reason}, _), do: {:again, reason}
  defp judge(answer, _), do: {:unexpected, answer}

  # ---- what must stand

  defp result(w) do
    expected =
      for {entity, n} <- w.numbers, not MapSet.member?(w.gone, entity), into: %{} do
        seq = seq(w, entity)
        {Documents.document_id(entity), fn at -> Documents.bytes(entity, n, seq, at) end}
      end

    %{expected: expected, kept: w.kept, retries: w.retries, unexpected: w.unexpected}
  end
end
