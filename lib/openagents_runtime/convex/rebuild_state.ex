defmodule OpenAgentsRuntime.Convex.RebuildState do
  @moduledoc """
  The position of a rebuild in a small file, so that an interrupted rebuild continues from there.

  Entities are rebuilt in a fixed order. The file holds the last entity up to which all are done,
  and those among them that failed (they are tried again first). It is replaced as a whole, at most
  once a second. So if the VM dies, the file is at most a second old, and the few entities in
  between are rebuilt twice, which changes nothing.
  """

  @type entity :: {kind :: atom(), id :: String.t()}
  @type t :: %__MODULE__{
          path: Path.t() | nil,
          selection: term(),
          position: entity() | nil,
          failed: MapSet.t(entity()),
          done: non_neg_integer(),
          saved_at: integer() | nil
        }

  defstruct [:path, :selection, :position, :saved_at, failed: MapSet.new(), done: 0]

  @save_ms 1000
  # Beyond this many failures the position does not advance: later entities are rebuilt again rather than forgotten.
  @max_failed 10_000

  @doc """
  The state in `path` (`nil`: no file), or a new one. `selection` is what is rebuilt; a file of
  another rebuild raises an `ArgumentError`.
  """
  @spec open(Path.t() | nil, term(), entity() | nil) :: t()
  def open(nil, selection, position), do: %__MODULE__{selection: selection, position: position}

  def open(path, selection, position) do
    new = %__MODULE__{path: path, selection: selection, position: position}

    case :file.consult(path) do
      # Left empty by a machine that crashed: starting again only costs time.
      {:ok, []} -> new
      {:ok, terms} -> read(new, terms)
      {:error, :enoent} -> new
      {:error, reason} -> raise ArgumentError, "#{path}: #{:file.format_error(reason)}"
    end
  end

  defp read(%{path: path, selection: selection} = new, terms) do
    case Enum.all?(terms, &match?({_, _}, &1)) && Map.new(terms) do
      %{convex_rebuild: 1, selection: ^selection, position: position, failed: failed, done: done} ->
        %{new | position: position, failed: MapSet.new(failed), done: done}

      %{convex_rebuild: 1} ->
        raise ArgumentError,
              "#{path} belongs to a rebuild of something else; remove it to begin anew"

      _ ->
        raise ArgumentError, "#{path} is not the state of a rebuild"
    end
  end

  @doc "Note that an entity is done: the `:next` one in order, or `:again` one that had failed."
  @spec note(t(), :next | :again, entity(), :ok | :error) :: t()
  def note(state, turn, entity, outcome) do
    full? = MapSet.size(state.failed) >= @max_failed

    state =
      case {turn, outcome} do
        {:again, :ok} -> %{state | failed: MapSet.delete(state.failed, entity)}
        {:again, :error} -> state
        {:next, _} when full? -> state
        {:next, :ok} -> %{state | position: entity, done: state.done + 1}
        {:next, :error} -> %{failed(state, entity) | position: entity, done: state.done + 1}
      end

    if due?(state), do: save(state), else: state
  end

  defp failed(state, entity), do: %{state | failed: MapSet.put(state.failed, entity)}

  defp due?(%{saved_at: nil}), do: true
  defp due?(%{saved_at: at}), do: now_ms() - at >= @save_ms

  @doc "End the rebuild: the file is removed if everything is done, else it keeps the position."
  @spec close(t(), whole? :: boolean()) :: :ok
  def close(%{path: nil}, _whole?), do: :ok

  def close(state, whole?) do
    if whole? and MapSet.size(state.failed) == 0 do
      _ = File.rm(state.path)
      :ok
    else
      _ = save(state)
      :ok
    end
  end

  defp save(%{path: nil} = state), do: state

  defp save(state) do
    terms = [
      convex_rebuild: 1,
      selection: state.selection,
      position: state.position,
      failed: MapSet.to_list(state.failed),
      done: state.done
    ]

    text = for term <- terms, do: :io_lib.format("~0tp.~n", [term])
    beside = state.path <> ".new"
    # Synced before it is renamed: otherwise a machine that crashes leaves an empty file.
    File.open!(beside, [:write, :raw], fn file ->
      :ok = :file.write(file, :unicode.characters_to_binary(["%% coding: utf-8\n" | text]))
      :ok = :file.sync(file)
    end)

    File.rename!(beside, state.path)
    %{state | saved_at: now_ms()}
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
