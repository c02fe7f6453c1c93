defmodule OpenAgentsRuntime.Convex.EventLog do
  @moduledoc """
  How the projector reads the truth: rows, events after a sequence number, ids.

  A runtime implements this over its own tables (three short queries) and names the module
  in its configuration:

      config :openagents_runtime, convex_event_log: MyApp.EventLog

  `OpenAgentsRuntime.Convex.DiskEventLog` is a complete implementation on OTP's `disk_log`.

  Functions may raise when the log cannot be read; the asynchronous form then asks again
  later. Rows and events are maps or structs with atom keys (or maps with string keys), the
  columns named as in the documents; what a document does not need is not sent.
  """

  @typedoc "One of `OpenAgentsRuntime.Convex.Kinds.all/0`: the runtime's own, and those you have configured."
  @type kind :: atom()

  @doc "The entity's row, or `:error` when there is none."
  @callback row(kind, id :: String.t()) :: {:ok, map()} | :error

  @doc """
  Its events with a `seq` greater than `seq`, ascending, at most `limit` of them. Events
  have `seq` (from 1, without gaps), `event_type` and `inserted_at`.
  """
  @callback events_after(kind, id :: String.t(), seq :: non_neg_integer(), limit :: pos_integer()) ::
              [map()]

  @doc """
  The next page of ids: at most `limit` of those that come after `after_id` (`nil`: from the
  first one) in ascending order; `[]` at the end. A rebuild of everything goes through it.
  """
  @callback ids(kind, after_id :: String.t() | nil, limit :: pos_integer()) :: [String.t()]

  @doc "The module to read from: option `:event_log`, or the configured one."
  @spec module!(keyword()) :: module()
  def module!(opts) do
    Keyword.get(opts, :event_log) || Application.get_env(:openagents_runtime, :convex_event_log) ||
      raise ArgumentError,
            "no event log: set `config :openagents_runtime, convex_event_log: YourModule` " <>
              "(a module with the behaviour OpenAgentsRuntime.Convex.EventLog) or give the option :event_log"
  end

  @doc "A column of a row or an event, whether its keys are atoms or strings."
  @spec value(map(), atom()) :: term()
  def value(map, key) do
    case map do
      %{^key => value} -> value
      _ -> Map.get(map, Atom.to_string(key))
    end
  end

  @doc "All ids of a kind, or those behind `after_id`, page by page, lazily."
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
