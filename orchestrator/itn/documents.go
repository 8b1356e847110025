package itn

import _ "embed" // for the documents

// The constant request texts, one file each. A test checks every file against the schema.
var (
	//go:embed documents/auth.graphql
	authDocument string
	//go:embed documents/auth_newer.graphql
	authNewerDocument string
	//go:embed documents/create_accounts.graphql
	createAccountsDocument string
	//go:embed documents/flush_internal_logs.graphql
	flushInternalLogsDocument string
	//go:embed documents/internal_logs.graphql
	internalLogsDocument string
	//go:embed documents/schedule_payments.graphql
	schedulePaymentsDocument string
	//go:embed documents/schedule_payments_handle.graphql
	schedulePaymentsHandleDocument string
	//go:embed documents/schedule_zkapp_commands.graphql
	scheduleZkappCommandsDocument string
	//go:embed documents/schedule_zkapp_commands_handle.graphql
	scheduleZkappCommandsHandleDocument string
	//go:embed documents/scheduled_transactions.graphql
	scheduledTransactionsDocument string
	//go:embed documents/slots_won.graphql
	slotsWonDocument string
	//go:embed documents/stop_daemon.graphql
	stopDaemonDocument string
	//go:embed documents/stop_scheduled_transactions.graphql
	stopScheduledTransactionsDocument string
	//go:embed documents/update_gating.graphql
	updateGatingDocument string
	//go:embed documents/zkapp_command_limit.graphql
	zkappCommandLimitDocument string
)
