defmodule OpenAgentsRuntime.Convex.EventLog do
  @moduledoc """
  How the projector reads the source of truth: rows, events after a sequence number, ids.

  A runtime implements this over its own tables (three short queries) and names the module
  in its configuration:

      config :openagents_runtime, convex_event_log: MyApp.EventLog

  `OpenAgentsRuntime.Convex.SqlEventLog` makes one for PostgreSQL tables in a line.
  `OpenAgentsRuntime.Convex.DiskEventLog` is a complete implementation on OTP's `disk_log`.

  Three callbacks are required, the others are optional. `c:rows/2` and `c:events_of/3`, if both are implemented, read
  a batch of the asynchronous form (and of the catch-up after a start, and of looks) in two queries, instead of two to
  four per entity; without them, a `latest_seq` in the row saves a query per entity. `c:in_transaction?/0` and
  `c:changed_since/3` make it possible to see commits that come after their projection, and `c:version_of/1` orders the
  versions of a row that two VMs have read.

  Callbacks may raise if the log cannot be read; the asynchronous form then tries again
  later. Rows and events are maps or structs with atom keys (or maps with string keys), with
  columns named as in the documents; columns that a document does not need are not sent.
  """

  require Logger

  @typedoc "One of `OpenAgentsRuntime.Convex.Kinds.all/0`: the runtime's own kinds, and those you have configured."
  @type kind :: atom()

  @doc "The entity's row, or `:error` if there is none."
  @callback row(kind, id :: String.t()) :: {:ok, map()} | :error

  @doc """
  The entity's events with a `seq` greater than `seq`, ascending, at most `limit`. Events
  have `seq` (from 1, without gaps), `event_type` and `inserted_at`.
  """
  @callback events_after(kind, id :: String.t(), seq :: non_neg_integer(), limit :: pos_integer()) ::
              [map()]

  @doc """
  The next page of ids: at most `limit` of those after `after_id` (`nil`: from the first one),
  in ascending order; `[]` at the end. A rebuild of everything reads all pages.
  """
  @callback ids(kind, after_id :: String.t() | nil, limit :: pos_integer()) :: [String.t()]

  @doc "The rows of many entities by their ids, without those that do not exist."
  @callback rows(kind, ids :: [String.t()]) :: %{String.t() => map()}

  @doc "As `c:events_after/4` for many entities, at most `limit` each; one without events may be left out."
  @callback events_of(
              kind,
              froms :: [{id :: String.t(), seq :: non_neg_integer()}],
              limit :: pos_integer()
            ) :: %{String.t() => [map()]}

  @doc """
  The ids of entities whose row changed at `since` or later, the oldest change first, at most `limit`. A full
  page means that there may be more. An event need not count as a change of the row. It is called once a minute for
  the last ten minutes (the sidecar's option `look_back_ms`), so the column should have an index.
  """
  @callback changed_since(kind, since :: DateTime.t(), limit :: pos_integer()) :: [String.t()]

  @doc """
  Whether the calling process is inside a transaction of the event log's database, so that what it
  reads may never be committed. Such an entity is looked at every 2 s for a minute. Called for each projection, so it
  must be quick.
  """
  @callback in_transaction?() :: boolean()

  @doc """
  A number that rises with each change of the row, for example a column that each `UPDATE` increments. It, rather than a
  clock, orders versions of a row with the same events. `nil`: this row has none. Do not use `updated_at`, unless
  every change of the row sets it.
  """
  @callback version_of(row :: map()) :: non_neg_integer() | nil

  @optional_callbacks rows: 2, events_of: 3, changed_since: 3, in_transaction?: 0, version_of: 1

  @doc "Whether the log reads many entities at once."
  @spec many?(module()) :: boolean()
  def many?(log) do
    Code.ensure_loaded?(log) and function_exported?(log, :rows, 2) and
      function_exported?(log, :events_of, 3)
  end

  @doc "Whether the calling process is inside a transaction of the log's database; `false` if the log has no such callback."
  @spec in_transaction?(module()) :: boolean()
  def in_transaction?(log) do
    Code.ensure_loaded?(log) and function_exported?(log, :in_transaction?, 0) and
      log.in_transaction?()
  end

  @doc "The module to read from, or `nil`."
  @spec module(keyword()) :: module() | nil
  def module(opts) do
    Keyword.get(opts, :event_log) || Application.get_env(:openagents_runtime, :convex_event_log)
  end

  @none "no event log: set `config :openagents_runtime, convex_event_log: YourModule` (a module with the behaviour " <>
          "OpenAgentsRuntime.Convex.EventLog) or give the option :event_log"

  # Warns once, however many appends there are; returns the reason.
  @doc false
  def say_none do
    unless :persistent_term.get({__MODULE__, :said}, false) do
      :persistent_term.put({__MODULE__, :said}, true)
      Logger.warning("convex_sidecar: nothing is projected, " <> @none)
    end

    :no_event_log
  end

  @doc false
  def none, do: @none

  @doc false
  def forget_said, do: :persistent_term.erase({__MODULE__, :said})

  @doc "The module to read from: option `:event_log`, or the configured one."
  @spec module!(keyword()) :: module()
  def module!(opts) do
    module(opts) || raise ArgumentError, @none
  end

  @doc "A column of a row or an event, whether its keys are atoms or strings."
  @spec value(map(), atom()) :: term()
  def value(map, key) do
    case map do
      %{^key => value} -> value
      _ -> Map.get(map, Atom.to_string(key))
    end
  end

  @doc "All ids of a kind, or those after `after_id`, page by page, lazily."
  @spec stream_ids(module(), kind, String.t() | nil) :: Enumerable.t()
  def stream_ids(log, kind, after_id \\ nil) do
    Stream.resource(
      fn -> after_id end,
      fn after_id ->
        case log.ids(kind, after_id, 1000) do
          [] -> {:halt, after_id}
          ids -> {ids, List.last(ids)}
        end
      end,
      fn _after_id -> :ok end
    )
  end
end
