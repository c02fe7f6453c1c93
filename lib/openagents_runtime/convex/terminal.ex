defmodule OpenAgentsRuntime.Convex.Terminal do
  @moduledoc false

  # Whether a progress bar written by this process would be seen by a person. `:io.columns/0` is no
  # answer: with -noshell, as mix runs, it never knows (OTP 25).
  @doc false
  @spec bar? :: boolean
  def bar?, do: IO.ANSI.enabled?() and Process.group_leader() == Process.whereis(:user)
end
