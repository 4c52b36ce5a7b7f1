package v1alpha1

// Condition types. Ready sums up the others; Reconciling, Stalled and Degraded are present only while they are true, as
// kstatus has it (https://github.com/kubernetes-sigs/cli-utils, "kstatus").
const (
	// ConditionReady: clients are served what the spec says.
	ConditionReady = "Ready"
	// ConditionReconciling: the operator is at work, or waits for something that can come by itself.
	ConditionReconciling = "Reconciling"
	// ConditionStalled: waiting will not help; a person must change something.
	ConditionStalled = "Stalled"
	// ConditionDegraded: clients are served, and something needs attention before they are not any more.
	ConditionDegraded = "Degraded"

	// ConditionStorageReady: there is a place to keep packs.
	ConditionStorageReady = "StorageReady"
	// ConditionAuthReady: the users are known.
	ConditionAuthReady = "AuthReady"
	// ConditionTLSReady: there is a certificate, and it fits the hosts.
	ConditionTLSReady = "TLSReady"
	// ConditionAvailable: enough replicas answer.
	ConditionAvailable = "Available"
	// ConditionExposed: there is an address to reach the registry at.
	ConditionExposed = "Exposed"
)

// Reasons of conditions.
const (
	ReasonReady            = "Ready"
	ReasonProgressing      = "Progressing"
	ReasonSuspended        = "Suspended"
	ReasonInvalid          = "Invalid"
	ReasonNotAllowed       = "NotAllowed"
	ReasonConflict         = "Conflict"
	ReasonSecretMissing    = "SecretMissing"
	ReasonSecretInvalid    = "SecretInvalid"
	ReasonClaimMissing     = "ClaimMissing"
	ReasonClaimPending     = "ClaimPending"
	ReasonClaimBound       = "ClaimBound"
	ReasonClaimLost        = "ClaimLost"
	ReasonEphemeral        = "Ephemeral"
	ReasonUsersKnown       = "UsersKnown"
	ReasonLastGoodUsers    = "LastGoodUsers"
	ReasonCertificateValid = "CertificateValid"
	ReasonExpired          = "Expired"
	ReasonExpiresSoon      = "ExpiresSoon"
	ReasonWrongHost        = "WrongHost"
	ReasonNotIssued        = "NotIssued"
	ReasonDisabled         = "Disabled"
	ReasonAnonymous        = "Anonymous"
	ReasonBucketConfigured = "BucketConfigured"
	ReasonResizing         = "Resizing"
	ReasonNearlyFull       = "NearlyFull"
	ReasonCannotGrow       = "CannotGrow"
	ReasonMinimumAvailable = "MinimumReplicasAvailable"
	ReasonScaledToZero     = "ScaledToZero"
	ReasonScaledElsewhere  = "ScaledElsewhere"
	ReasonRollingOut       = "RollingOut"
	ReasonDeadlineExceeded = "ProgressDeadlineExceeded"
	ReasonReplicaFailure   = "ReplicaFailure"
	ReasonAddressAssigned  = "AddressAssigned"
	ReasonAddressPending   = "AddressPending"
	// ReasonIngressClassMissing: nobody will serve the Ingress.
	ReasonIngressClassMissing = "IngressClassMissing"
	ReasonReconcileFailed     = "ReconcileFailed"
	// ReasonOtherOperator is that of an event: another operator looks after the object.
	ReasonOtherOperator = "OtherOperator"
	// ReasonRefused: the API server, or a policy, refuses a child.
	ReasonRefused = "Refused"
	// ReasonQuotaExceeded: a quota of the namespace does not admit a child yet.
	ReasonQuotaExceeded = "QuotaExceeded"

	ReasonGatewayAPINotInstalled = "GatewayAPINotInstalled"
	ReasonCertManagerMissing     = "CertManagerNotInstalled"
	ReasonRouteRefused           = "RouteRefused"
	ReasonIssuanceFailed         = "IssuanceFailed"

	ReasonServiceMonitorNotInstalled = "ServiceMonitorNotInstalled"
)
