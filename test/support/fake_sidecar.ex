defmodule FakeSidecar do
  @moduledoc """
  A sidecar in a GenServer: it folds events and keeps documents as docs/PROTOCOL.md says, in
  memory, and remembers every request. What is scripted with `script/2` is answered first.
  """
  use GenServer

  def child_spec(name), do: %{id: name, start: {__MODULE__, :start_link, [name]}}
  def start_link(name), do: GenServer.start_link(__MODULE__, nil, name: name)

  @doc """
  Answer the next requests with these, one each: an answer, `:normal` (as if nothing were
  scripted), `:silent`, or a function of the request that gives an answer or `:normal`.
  """
  def script(fake, answers), do: GenServer.call(fake, {:fake, :script, answers})

  @doc "All requests so far, oldest first."
  def requests(fake), do: GenServer.call(fake, {:fake, :requests})

  @doc "The documents: `%{id => %{folded: n, count: n, row: map, kind: kind}}`."
  def documents(fake), do: GenServer.call(fake, {:fake, :documents})

  @doc "Answer the requests that were left silent, in order."
  def wake(fake, answer), do: GenServer.call(fake, {:fake, :wake, answer})

  @doc "It stands so from now on: the map of `{changes, N}`, but for the number."
  def change(fake, map) do
    well = %{state: "running", why: "", next: "", since: "", store_ok: true, kinds: [], mending: nil}
    GenServer.call(fake, {:fake, :change, Map.merge(well, map)})
  end

  @impl true
  def init(nil), do: {:ok, %{script: [], requests: [], documents: %{}, silent: [], waiting: [], stand: nil, number: 0}}

  @impl true
  def handle_call({:fake, :script, answers}, _from, state),
    do: {:reply, :ok, %{state | script: answers}}

  def handle_call({:fake, :requests}, _from, state),
    do: {:reply, Enum.reverse(state.requests), state}

  def handle_call({:fake, :documents}, _from, state), do: {:reply, state.documents, state}

  def handle_call({:fake, :wake, answer}, _from, state) do
    Enum.each(state.silent, &GenServer.reply(&1, answer))
    {:reply, length(state.silent), %{state | silent: []}}
  end

  # What the VM waits for is nobody's script: answered by change/2.
  def handle_call({:changes, seen}, from, state) do
    {:noreply, tell(%{state | waiting: [{seen, from} | state.waiting]})}
  end

  def handle_call({:fake, :change, map}, _from, state) do
    {:reply, :ok, tell(%{state | stand: map, number: state.number + 1})}
  end

  def handle_call(request, from, state) do
    state = %{state | requests: [request | state.requests]}
    {scripted, rest} = List.pop_at(state.script, 0, :normal)
    state = %{state | script: rest}

    case if(is_function(scripted, 1), do: scripted.(request), else: scripted) do
      :normal ->
        {reply, state} = answer(request, state)
        {:reply, reply, state}

      :silent ->
        {:noreply, %{state | silent: state.silent ++ [from]}}

      reply ->
        {:reply, reply, state}
    end
  end

  defp tell(%{stand: nil} = state), do: state

  defp tell(%{number: number, stand: stand} = state) do
    {waiting, due} = Enum.split_with(state.waiting, fn {seen, _from} -> seen == number end)
    for {_seen, from} <- due, do: GenServer.reply(from, {:ok, Map.put(stand, :number, number)})
    %{state | waiting: waiting}
  end

  defp answer({:batch, requests}, state) do
    {replies, state} = Enum.map_reduce(requests, state, &answer/2)
    {{:ok, replies}, state}
  end

  defp answer({:project, kind, id, row, events, opts}, state) do
    key = "runtime/#{kind}:#{id}"
    old = state.documents[key]
    fold = if opts[:reset], do: nil, else: old
    log_end = if fold, do: opts[:log_end]

    if log_end && log_end < fold.folded,
      do: shorter(key, kind, row, List.last(events), log_end, fold, opts, state),
      else: fold(key, kind, row, events, fold, old, opts, state)
  end

  defp answer({:upsert, kind, id, summary, opts}, state) do
    seq = summary["runtime_source"]["seq"]
    keep(id, seq, %{folded: seq, kind: kind, summary: summary}, state.documents[id], opts, state)
  end

  defp answer({:clear, id}, state) do
    {document, documents} = Map.pop(state.documents, id)
    {{:ok, %{cleared: if(document, do: 1, else: 0)}}, %{state | documents: documents}}
  end

  defp answer(:status, state), do: {{:ok, %{state: "running"}}, state}
  defp answer({:echo, term}, state), do: {{:ok, term}, state}
  defp answer(_other, state), do: {{:error, :bad_request}, state}

  # The log ends before the fold does.
  defp shorter(key, kind, row, last, log_end, fold, opts, state) do
    other = last && (fold[:events] || %{})[log_end] not in [nil, shown(last)]
    count = fold.count - (fold.folded - log_end)
    kept = if last, do: Map.put(fold[:events] || %{}, log_end, shown(last)), else: %{}
    events = Map.filter(kept, fn {seq, _} -> seq <= log_end end)
    document = %{folded: log_end, count: count, row: row, kind: kind, events: events}
    opts = if other || opts[:below], do: opts, else: Map.put(opts, :unless_ahead, true)
    keep(key, log_end, document, fold, opts, state)
  end

  defp shown(event), do: {event[:event_type], event[:inserted_at]}

  defp fold(key, kind, row, events, fold, old, opts, state) do
    before = opts[:events_before] || 0
    start = if opts[:reset] && events != [], do: hd(events).seq - 1, else: before
    folded = if fold, do: fold.folded, else: start
    new = Enum.drop_while(events, &(&1.seq <= folded))

    case new do
      [%{seq: got} | _] when got != folded + 1 ->
        {{:error, {:gap, folded + 1, got}}, state}

      _ ->
        count = if(fold, do: fold.count, else: before) + length(new)
        last = if new == [], do: folded, else: List.last(new).seq
        known = if(fold, do: fold[:events] || %{}, else: %{})
        seen = if opts[:log_end] == last || new != [], do: Map.new(events, &{&1.seq, shown(&1)}), else: %{}
        events = Map.merge(known, seen)
        document = %{folded: last, count: count, row: row, kind: kind, events: events}
        keep(key, last, document, old, opts, state)
    end
  end

  defp keep(key, seq, document, old, opts, state) do
    {write, reason} =
      cond do
        old == nil or seq > old.folded -> {"queued", nil}
        seq < old.folded and opts[:unless_ahead] -> {"skipped", "checkpoint_ahead"}
        seq < old.folded -> {"queued", "checkpoint_ahead"}
        document == old and opts[:force] -> {"queued", nil}
        document == old -> {"skipped", "idempotent"}
        true -> {"queued", "summary_hash_mismatch"}
      end

    write = if write == "queued" and opts[:ack] == :written, do: "applied", else: write
    lag = seq - if(old, do: old.folded, else: 0)

    result = %{
      document_id: key,
      write: write,
      reason: reason,
      seq: seq,
      lag_events: lag,
      coalesced: false,
      projection_hash: String.duplicate("0", 64)
    }

    result =
      if opts[:return] == :summary,
        do: Map.put(result, :summary, summary(key, seq, document)),
        else: result

    document = if reason == "checkpoint_ahead" and write == "skipped", do: old, else: document
    reply = if opts[:return] == :none and reason in [nil, "idempotent"], do: :ok, else: {:ok, result}
    {reply, %{state | documents: Map.put(state.documents, key, document)}}
  end

  defp summary(key, seq, document) do
    %{"document_id" => key, "kind" => to_string(document.kind), "latest_seq" => seq}
  end
end
