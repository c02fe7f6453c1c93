defmodule OpenAgentsRuntime.Convex.SqlEventLog do
  @moduledoc """
  An event log over PostgreSQL, through any function that runs a query.

      defmodule MyApp.EventLog do
        use OpenAgentsRuntime.Convex.SqlEventLog, query: &MyApp.Repo.query!/2
      end

      config :openagents_runtime, convex_event_log: MyApp.EventLog

  That is all for the runtime's own tables. The sidecar is a child *after* the Repo.

  ## Options

    * `:query` - a function of SQL and parameters that raises if the query fails: Ecto's `&MyApp.Repo.query!/2`,
      `&Postgrex.query!(MyApp.DB, &1, &2)`, or one of your own. It returns a result with
      `rows` (Postgrex, Ecto), the same in `{:ok, _}`, what p1_pgsql's `execute/3` returns, or the bare rows
    * `:schema` - `"runtime"`; `nil`: the connection's `search_path`
    * `:kinds` - tables and columns of kinds that differ from the defaults (below)
    * `:in_transaction?` - `&MyApp.Repo.in_transaction?/0`; see `OpenAgentsRuntime.Convex.EventLog`

  Tables and columns of a kind, with the defaults for `run_summary`, `codex_worker_summary`, and for a kind of
  your own (`entity` and `id_field` are those of `convex_kinds`):

  | key | run_summary | codex_worker_summary | any other |
  | --- | --- | --- | --- |
  | `table` | `runs` | `codex_workers` | `ENTITYs` |
  | `id` | `run_id` | `worker_id` | its `id_field` |
  | `events` | `run_events` | `codex_worker_events` | `ENTITY_events`; `nil`: it has none |
  | `event_id` | as `id` | as `id` | as `id` |
  | `seq`, `event_type`, `event_at` | `seq`, `event_type`, `inserted_at` | the same | the same |
  | `changed` | `updated_at` | the same | the same |
  | `version` | none | none | none; a column that each change of the row increments: `c:OpenAgentsRuntime.Convex.EventLog.version_of/1` |
  | `columns` | the fields of the kind | the same | the same; `[amount: "total"]`: another column for a field |

      use OpenAgentsRuntime.Convex.SqlEventLog,
        query: &MyApp.Repo.query!/2,
        kinds: [invoice_summary: [table: "invoices", id: "id", events: nil, columns: [amount: "total"]]]

  ## Its queries

  Every parameter is passed as text and cast in SQL to the column's type (`($1::text)::uuid`), and every result is
  text, so no driver's types matter and every index on the columns is used. The types are read from the database
  (`pg_attribute`) once, when a kind is first read. A batch takes two queries, one for all rows and one for all
  events. It needs a unique index on `id`, and one on `event_id, seq`.

  Times are `DateTime`s in UTC with microseconds, from `timestamp` (taken as UTC, as Ecto does) and `timestamptz`
  alike; `jsonb` becomes maps, lists, and numbers as PostgreSQL has them.
  """

  alias OpenAgentsRuntime.Convex.{CanonicalJson, JsonText, Kinds}

  @defaults [
    run_summary: [table: "runs", events: "run_events"],
    codex_worker_summary: [table: "codex_workers", events: "codex_worker_events"]
  ]
  @keys [
    :table,
    :id,
    :events,
    :event_id,
    :seq,
    :event_type,
    :event_at,
    :changed,
    :version,
    :columns
  ]
  @times ["timestamp without time zone", "timestamp with time zone"]
  @integers %{"smallint" => 15, "integer" => 31, "bigint" => 63}

  defmacro __using__(opts) do
    quote do
      @behaviour OpenAgentsRuntime.Convex.EventLog
      alias OpenAgentsRuntime.Convex.SqlEventLog

      @doc false
      def __sql__, do: SqlEventLog.options(__MODULE__, unquote(opts))

      @impl true
      def row(kind, id), do: SqlEventLog.row(__sql__(), kind, id)
      @impl true
      def rows(kind, ids), do: SqlEventLog.rows(__sql__(), kind, ids)
      @impl true
      def events_after(kind, id, seq, limit),
        do: SqlEventLog.events_after(__sql__(), kind, id, seq, limit)

      @impl true
      def events_of(kind, froms, limit), do: SqlEventLog.events_of(__sql__(), kind, froms, limit)
      @impl true
      def ids(kind, after_id, limit), do: SqlEventLog.ids(__sql__(), kind, after_id, limit)
      @impl true
      def changed_since(kind, since, limit),
        do: SqlEventLog.changed_since(__sql__(), kind, since, limit)

      @impl true
      def version_of(row), do: row[:"$version"]

      @impl true
      def in_transaction?, do: SqlEventLog.in_transaction?(__sql__())

      defoverridable row: 2, rows: 2, events_after: 4, events_of: 3, ids: 3
      defoverridable changed_since: 3, in_transaction?: 0, version_of: 1
    end
  end

  @doc false
  def options(module, opts) do
    unknown = Keyword.keys(opts) -- [:query, :schema, :kinds, :in_transaction?]
    unknown == [] || bad(module, "there is no option #{inspect(hd(unknown))}")
    is_function(opts[:query], 2) || bad(module, "query: must be a function of two arguments")

    %{
      module: module,
      query: opts[:query],
      schema: Keyword.get(opts, :schema, "runtime"),
      opts: opts
    }
  end

  # ---- the callbacks

  @doc false
  def row(log, kind, id) do
    case rows(log, kind, [id]) do
      %{^id => row} -> {:ok, row}
      %{} -> :error
    end
  end

  @doc false
  def rows(log, kind, ids) do
    plan = plan(log, kind)

    case Enum.filter(ids, &id?(plan.type, &1)) do
      [] ->
        %{}

      ids ->
        for [id, json] <- ask(log, plan.rows, [json(ids)]),
            into: %{},
            do: {id, row_of(id, json, plan)}
    end
  end

  @doc false
  def events_after(log, kind, id, seq, limit),
    do: Map.get(events_of(log, kind, [{id, seq}], limit), id, [])

  @doc false
  def events_of(log, kind, froms, limit) do
    plan = plan(log, kind)

    case for({id, seq} <- froms, id?(plan.type, id), do: [id, seq]) do
      [_ | _] = pairs when plan.events != nil ->
        log
        |> ask(plan.events, [json(pairs), Integer.to_string(limit)])
        |> Enum.group_by(&hd/1, fn [_id, seq, type, at] ->
          %{seq: String.to_integer(seq), event_type: type, inserted_at: time(at)}
        end)

      _none ->
        %{}
    end
  end

  @doc false
  def ids(log, kind, after_id, limit) do
    plan = plan(log, kind)
    limit = Integer.to_string(limit)

    rows =
      if after_id == nil,
        do: ask(log, plan.first_ids, [limit]),
        else: ask(log, plan.ids, [after_id, limit])

    Enum.map(rows, &hd/1)
  end

  @doc false
  def changed_since(log, kind, %DateTime{} = since, limit) do
    plan = plan(log, kind)

    since = since |> DateTime.shift_zone!("Etc/UTC") |> DateTime.to_iso8601()

    if plan.changed,
      do: Enum.map(ask(log, plan.changed, [since, Integer.to_string(limit)]), &hd/1),
      else: []
  end

  @doc false
  def in_transaction?(log) do
    case log.opts[:in_transaction?] do
      nil -> false
      fun -> fun.()
    end
  end

  # ---- a query and its answer

  defp ask(log, sql, params), do: sql |> log.query.(params) |> answer(log)

  defp answer(%{rows: rows}, _log), do: plain(rows || [])
  defp answer({:ok, %{rows: rows}}, _log), do: plain(rows || [])
  # p1_pgsql
  defp answer({:ok, {_command, rows}}, _log), do: plain(rows)
  defp answer(rows, _log) when is_list(rows), do: plain(rows)

  defp answer(other, log),
    do: raise("the query of #{inspect(log.module)} answered #{inspect(other)}")

  defp plain(rows), do: Enum.map(rows, fn row -> row |> row_list() |> Enum.map(&text/1) end)

  defp row_list(row) when is_tuple(row), do: Tuple.to_list(row)
  defp row_list(row), do: row

  defp text(none) when none in [nil, :null, :undefined], do: nil
  defp text(text) when is_binary(text), do: text
  defp text(text) when is_list(text), do: IO.iodata_to_binary(text)
  defp text({_type, value}), do: text(value)

  defp json(term), do: CanonicalJson.encode(term)

  # The id as text, whatever type the column has.
  defp row_of(id, json, plan) do
    values = JsonText.decode(json)

    Map.new([
      {plan.id_field, id}
      | Enum.map(plan.columns, fn {field, time?} ->
          value = Map.get(values, Atom.to_string(field))
          {field, if(time?, do: time(value), else: value)}
        end)
    ])
  end

  # `to_jsonb` gives a time as ISO 8601, whatever DateStyle is, with or without an offset.
  defp time(nil), do: nil

  defp time(text) do
    case DateTime.from_iso8601(text) do
      {:ok, at, _offset} ->
        microseconds(at)

      {:error, :missing_offset} ->
        {:ok, at, 0} = DateTime.from_iso8601(text <> "Z")
        microseconds(at)

      # infinity
      {:error, _why} ->
        text
    end
  end

  defp microseconds(%{microsecond: {us, _digits}} = at), do: %{at | microsecond: {us, 6}}

  # An id that is invalid for the type is not queried: the cast would fail, and with it the whole batch.
  defp id?("uuid", id), do: id =~ ~r/\A[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\z/

  defp id?(type, id) when is_map_key(@integers, type) do
    case Integer.parse(id) do
      {n, ""} -> Integer.to_string(n) == id and abs(n) < Integer.pow(2, @integers[type])
      _ -> false
    end
  end

  defp id?(_text, id), do: String.valid?(id) and not String.contains?(id, <<0>>)

  # ---- the queries of a kind, built when it is first read

  defp plan(%{module: module} = log, kind) do
    found = Kinds.fetch!(kind)

    case :persistent_term.get({__MODULE__, module, kind}, nil) do
      {^found, plan} ->
        plan

      _none_or_of_before ->
        plan = made(log, found)
        :persistent_term.put({__MODULE__, module, kind}, {found, plan})
        plan
    end
  end

  defp made(log, kind) do
    words = words(log, kind)
    table = name(log.schema, words.table)
    types = types(log, table)
    columns = columns(log, kind, words, types)
    type = cast(type!(log, table, types, words.id))
    named = get_in(log.opts, [:kinds, kind.name, :changed])
    if named, do: type!(log, table, types, words.changed)
    id = "t.#{quoted(words.id)}"

    values =
      Enum.map_join(columns, ", ", fn {field, column} ->
        "'#{field}', t.#{quoted(column)}"
      end)

    %{
      type: type,
      id_field: kind.id_field,
      columns: for({field, column} <- columns, do: {field, types[column] in @times}),
      rows:
        "SELECT q.id, r.json FROM jsonb_array_elements_text(($1::text)::jsonb) AS q(id) " <>
          "CROSS JOIN LATERAL (SELECT jsonb_build_object(#{values})::text AS json " <>
          "FROM #{table} t WHERE #{id} = q.id::#{type} LIMIT 1) r",
      events: events(log, words, type),
      first_ids: "SELECT #{id}::text FROM #{table} t ORDER BY #{id} LIMIT ($1::text)::bigint",
      ids:
        "SELECT #{id}::text FROM #{table} t WHERE #{id} > ($1::text)::#{type} " <>
          "ORDER BY #{id} LIMIT ($2::text)::bigint",
      changed: changed(words.changed, id, table, types)
    }
  end

  defp events(_log, %{events: nil}, _type), do: nil

  defp events(log, words, type) do
    table = name(log.schema, words.events)
    types = types(log, table)
    for key <- [:event_id, :seq, :event_type, :event_at], do: type!(log, table, types, words[key])

    [id, seq, kind, at] =
      for key <- [:event_id, :seq, :event_type, :event_at], do: quoted(words[key])

    "SELECT q.pair->>0, e.seq, e.type, e.at FROM jsonb_array_elements(($1::text)::jsonb) AS q(pair) " <>
      "CROSS JOIN LATERAL (SELECT t.#{seq}::text AS seq, t.#{kind}::text AS type, to_jsonb(t.#{at}) #>> '{}' AS at " <>
      "FROM #{table} t WHERE t.#{id} = (q.pair->>0)::#{type} AND t.#{seq} > (q.pair->>1)::bigint " <>
      "ORDER BY t.#{seq} LIMIT ($2::text)::bigint) e"
  end

  # The oldest change first: a full page means that there may be more.
  defp changed(column, id, table, types) do
    if type = types[column] do
      at = "t.#{quoted(column)}"

      since =
        if type =~ "without",
          do: "(($1::text)::timestamptz AT TIME ZONE 'UTC')",
          else: "($1::text)::timestamptz"

      "SELECT #{id}::text FROM #{table} t WHERE #{at} >= #{since} ORDER BY #{at}, #{id} LIMIT ($2::text)::bigint"
    end
  end

  # The fields of the document, and latest_seq if the table has it, which saves a read.
  defp columns(log, kind, words, types) do
    fields = for field <- kind.fields, do: {field, word(words.columns[field] || field)}
    latest = word(words.columns[:latest_seq] || :latest_seq)
    table = name(log.schema, words.table)
    for {_field, column} <- fields, do: type!(log, table, types, column)

    if words.version, do: type!(log, table, types, words.version)

    if(types[latest], do: [{:latest_seq, latest}], else: []) ++
      if(words.version, do: [{:"$version", words.version}], else: []) ++ fields
  end

  defp words(%{module: module, opts: opts}, kind) do
    given = Map.new(get_in(opts, [:kinds, kind.name]) || [])
    unknown = Map.keys(given) -- @keys
    unknown == [] || bad(module, "kinds: #{kind.name} has no key #{inspect(hd(unknown))}")
    id = word(given[:id] || kind.id_field)

    %{
      table: kind.entity <> "s",
      id: id,
      events: kind.entity <> "_events",
      event_id: id,
      seq: "seq",
      event_type: "event_type",
      event_at: "inserted_at",
      changed: "updated_at",
      version: nil,
      columns: []
    }
    |> Map.merge(Map.new(@defaults[kind.name] || []))
    |> Map.merge(given)
    |> Map.new(fn {key, value} -> {key, if(key == :columns, do: value, else: word(value))} end)
  end

  defp word(nil), do: nil
  defp word(word) when is_atom(word), do: Atom.to_string(word)
  defp word(word) when is_binary(word), do: word

  defp name(nil, table), do: quoted(table)
  defp name(schema, table), do: quoted(schema) <> "." <> quoted(table)

  defp quoted(name), do: ~s(") <> String.replace(name, ~s("), ~s("")) <> ~s(")

  defp types(log, table) do
    sql =
      "SELECT attname::text, format_type(atttypid, NULL)::text FROM pg_attribute " <>
        "WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped"

    case ask(log, sql, [table]) do
      [] ->
        bad(log.module, "there is no table #{table}; schema: and kinds: say where the tables are")

      rows ->
        Map.new(rows, &List.to_tuple/1)
    end
  end

  defp type!(log, table, types, column) do
    types[column] ||
      bad(log.module, "#{table} has no column #{column}; kinds: says how columns are called")
  end

  # A cast to varchar(n) would truncate.
  defp cast(type) when type in ["character varying", "character", "name"], do: "text"
  defp cast(type), do: type

  @spec bad(module(), String.t()) :: no_return()
  defp bad(module, why), do: raise(ArgumentError, "#{inspect(module)} (SqlEventLog): #{why}")
end
