{{/* The name of everything: the release's, unless that says it already. Services take no dots, and begin with a letter. */}}
{{- define "operator.name" -}}
{{- $name := "" }}
{{- if .Values.fullnameOverride }}{{ $name = .Values.fullnameOverride }}
{{- else if contains (.Values.nameOverride | default "packregistry") .Release.Name }}{{ $name = .Release.Name }}
{{- else }}{{ $name = printf "%s-%s" .Release.Name (.Values.nameOverride | default "packregistry-operator") }}{{ end }}
{{- regexReplaceAll "^([0-9])" ($name | replace "." "-") "r${1}" | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default "packregistry-operator" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The labels of everything. Ours come before those of the values, so that no key is there twice. */}}
{{- define "operator.labels" -}}
{{- $own := fromYaml (include "operator.selector" .) }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- toYaml (merge $own (.Values.commonLabels | default dict)) }}
{{- end }}

{{/* An image of the values, given as a list of them and the root. Tags take no '+'. */}}
{{- define "operator.image" -}}
{{- $image := index . 0 | default dict }}{{ $root := index . 1 }}
{{- $registry := (($root.Values.global).imageRegistry) | default $image.registry }}
{{- if $registry }}{{ $registry | trimSuffix "/" }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion | replace "+" "_" }}{{ end }}
{{- end }}

{{- define "operator.serviceAccount" -}}
{{- if ne (toString (.Values.serviceAccount).create) "false" }}{{ (.Values.serviceAccount).name | default (include "operator.name" .) }}{{ else }}{{ (.Values.serviceAccount).name | default "default" }}{{ end }}
{{- end }}

{{/* Whether metrics are served: asking who may read them takes a ClusterRole, which a namespaced install does not have. */}}
{{- define "operator.metrics" -}}
{{- if and (.Values.metrics).enabled (not (and .Values.watchNamespaces (.Values.metrics).secure)) }}true{{ else }}false{{ end }}
{{- end }}

{{- define "operator.metricsPort" -}}
{{ (.Values.metrics).port | default 8443 }}
{{- end }}

{{/* A security context without a profile of no type, which the API server refuses: null for the type leaves one behind. */}}
{{- define "operator.securityContext" -}}
{{- $context := . | default dict }}
{{- if (($context).seccompProfile).type }}{{ toYaml $context }}{{ else }}{{ toYaml (omit $context "seccompProfile") }}{{ end }}
{{- end }}
