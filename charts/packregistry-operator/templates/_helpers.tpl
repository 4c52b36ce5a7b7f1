{{/* The name of everything: the release's, unless that says it already. */}}
{{- define "operator.name" -}}
{{- if contains "packregistry" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-packregistry-operator" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: packregistry-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Whether metrics are served: asking who may read them takes a ClusterRole, which a namespaced install does not have. */}}
{{- define "operator.metrics" -}}
{{- if and .Values.metrics.enabled (not (and .Values.watchNamespaces .Values.metrics.secure)) }}true{{ else }}false{{ end }}
{{- end }}
