defmodule Torture.Oracle do
  @moduledoc """
  What was sent, and whether what Convex did is allowed.

  Writers register each version before they send it (`sent/4`, `cleared/2`) under numbers that rise
  per document.  The stand-in tells every commit in order; each must be a version that was sent
  (else it is *foreign*), with a number and a projected_at not below those of the commit before
  (else it went *backwards*).  A removal may be that of any clear behind the last version seen, and so with a version that
  was true more than once, as after a rollback: the nearest is assumed, so nothing is accused wrongly.
  """

  @versions __MODULE__.Versions
  @clears __MODULE__.Clears

  defstruct seen: 0, last: %{}, backwards: [], foreign: [], written: 0, removed: 0

  def new do
    :ets.new(@versions, [:ordered_set, :public, :named_table, write_concurrency: true])
    :ets.new(@clears, [:ordered_set, :public, :named_table, write_concurrency: true])
    %__MODULE__{}
  end

  @doc "Version `n` of a document, with this hash, is about to be sent."
  def sent(document_id, hash, n), do: :ets.insert(@versions, {{document_id, hash, n}})

  @doc "Clear number `n` of a document is about to be sent."
  def cleared(document_id, n), do: :ets.insert(@clears, {{document_id, n}})

  def versions, do: :ets.info(@versions, :size) + :ets.info(@clears, :size)

  @doc "What several of them have seen, each of a deployment of its own."
  def sum(oracles) do
    Enum.reduce(oracles, %__MODULE__{}, fn o, all ->
      %{
        all
        | seen: all.seen + o.seen,
          written: all.written + o.written,
          removed: all.removed + o.removed,
          backwards: o.backwards ++ all.backwards,
          foreign: o.foreign ++ all.foreign
      }
    end)
  end

  @doc "Judge the commits that follow those seen already."
  def judge(oracle, commits), do: Enum.reduce(commits, oracle, &judge_one/2)

  defp judge_one(commit, oracle) do
    {last_n, last_at} = Map.get(oracle.last, commit.id, {0, ""})
    oracle = count(%{oracle | seen: oracle.seen + 1}, commit)

    case number(commit, last_n) do
      nil ->
        %{oracle | foreign: [commit | oracle.foreign]}

      n when n < last_n or commit.at < last_at ->
        %{
          oracle
          | backwards: [
              Map.merge(commit, %{n: n, after_n: last_n, after_at: last_at}) | oracle.backwards
            ]
        }

      n ->
        %{oracle | last: Map.put(oracle.last, commit.id, {n, commit.at})}
    end
  end

  defp count(oracle, %{removed: true}), do: %{oracle | removed: oracle.removed + 1}
  defp count(oracle, _commit), do: %{oracle | written: oracle.written + 1}

  defp number(%{removed: true, id: id}, last_n) do
    case :ets.next(@clears, {id, last_n - 1}) do
      {^id, n} -> n
      _ -> nil
    end
  end

  defp number(%{id: id, hash: hash}, last_n) do
    with nil <- next(id, hash, last_n - 1), do: next(id, hash, 0)
  end

  defp next(id, hash, after_n) do
    case :ets.next(@versions, {id, hash, after_n}) do
      {^id, ^hash, n} -> n
      _ -> nil
    end
  end

  @doc """
  What stands against what must stand: `expected` is `%{document_id => fun of projected_at giving the
  bytes}`, without those that are cleared.
  """
  def compare(expected, standing) do
    missing = for {id, _} <- expected, not Map.has_key?(standing, id), do: {:missing, id}

    wrong = for {id, bytes} <- standing, problem = wrong(Map.get(expected, id), bytes), do: {problem, id}

    {missing ++ wrong, map_size(expected) - length(missing) - Enum.count(wrong, &(elem(&1, 0) == :differs))}
  end

  defp wrong(nil, _bytes), do: :resurrected

  defp wrong(expected, bytes) do
    [projected_at] = Regex.run(~r/"projected_at":"([^"]*)"/, bytes, capture: :all_but_first)
    if expected.(projected_at) != bytes, do: :differs
  end
end
