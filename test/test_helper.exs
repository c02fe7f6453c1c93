SidecarCase.start_distribution()
# A condition that is waited for has time on a machine that is busy.
ExUnit.start(capture_log: true, assert_receive_timeout: 5000)
